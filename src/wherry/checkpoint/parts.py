"""What the readers read from: a file, a window of one, or what was unpacked from one; with one budget for all of it."""

import io
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from wherry.checkpoint.findings import Tier, damaged, forbidden

CHUNK = 1 << 20
MAX_DEPTH = 5
MAX_RATIO = 100
MAX_UNPACKED = 16 << 30
MAX_PARTS = 200_000
_IN_MEMORY = 1 << 20


class Readable(Protocol):
    """What the scan needs of an open file."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to `offset`."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes."""


class Window:
    """A stretch of another file, as if it were a file of its own."""

    def __init__(self, file: Readable, start: int, size: int) -> None:
        """Look at `size` bytes of `file` from `start` on."""
        self._file, self._start, self._size, self._position = file, start, size, 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to `offset` from the window's beginning, or from its end if `whence` is 2."""
        self._position = offset + (self._size if whence == 2 else 0)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, never beyond the window."""
        left = max(0, self._size - self._position)
        self._file.seek(self._start + self._position)
        found = self._file.read(left if size < 0 else min(size, left))
        self._position += len(found)
        return found


@dataclass(slots=True)
class Budget:
    """How much one scanned file may still unpack, over all that is packed inside it."""

    unpacked: int
    opened: ExitStack
    """Closes what was unpacked to a nameless file, when the scan of the outermost file ends."""
    parts: int = MAX_PARTS

    def spend(self, count: int) -> None:
        """Count unpacked bytes.

        Raises:
            UncleanError: it unpacks to more than any honest file.
        """
        self.unpacked -= count
        if self.unpacked < 0:
            raise forbidden("It unpacks to more than a hundred times its length.", code="expansion")

    def part(self) -> None:
        """Count one more file inside the file."""
        self.parts -= 1
        if self.parts < 0:
            raise forbidden("It holds more files than any checkpoint.", code="expansion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file, or one file inside a file."""

    file: Readable
    size: int
    allow: Tier
    budget: Budget
    where: str = ""
    """Its name inside the outermost file; empty for that file itself."""
    depth: int = 0
    folder: Path | None = None
    """Folder that the outermost file lies in; None inside archives."""
    name: str = ""
    """Name of the file itself, which decides nothing; only what it refers to may depend on it."""
    inside: bool = False
    """Whether it lies beside others, in a folder or an archive, so that it need not be a model."""

    def at(self, position: int, length: int) -> bytes:
        """Return exactly `length` bytes.

        Raises:
            UncleanError: it ends before.
        """
        self.file.seek(position)
        found = self.file.read(length)
        if len(found) != length:
            raise damaged("It ends before its length is reached: the file is truncated.", where=self.where)
        return found

    def head(self, length: int) -> bytes:
        """Return the first bytes, at most `length`."""
        self.file.seek(0)
        return self.file.read(length)

    def whole(self, limit: int) -> bytes:
        """Return all bytes.

        Raises:
            UncleanError: they are more than `limit`.
        """
        if self.size > limit:
            msg = f"It is {self.size} bytes long, and at most {limit} are read."
            raise forbidden(msg, where=self.where, code="too-long")
        return self.at(0, self.size)

    def inner(self, file: Readable, size: int, name: str, *, inside: bool = True) -> "Part":
        """Return the part for a file inside this one.

        Raises:
            UncleanError: it is packed in too many layers.
        """
        if self.depth >= MAX_DEPTH:
            raise forbidden("It is packed in more layers than any checkpoint.", where=name, code="expansion")
        self.budget.part()
        where = f"{self.where}/{name}" if self.where and name else self.where or name
        return replace(self, file=file, size=size, where=where, depth=self.depth + 1, folder=None, inside=inside)


def part_of(
    file: Readable, size: int, opened: ExitStack, *, allow: Tier, path: Path | None = None, inside: bool = False
) -> Part:
    """Return the part for an outermost file, with a fresh budget."""
    budget = Budget(min(MAX_RATIO * size + 16 * CHUNK, max(MAX_UNPACKED, 2 * size)), opened)
    return Part(
        file=file,
        size=size,
        allow=allow,
        budget=budget,
        folder=path and path.parent,
        name=path.name if path else "",
        inside=inside,
    )


def spill(pieces: Iterable[bytes], budget: Budget) -> tuple[Readable, int]:
    """Write unpacked bytes where they can be read in any order: in memory while short, else in a nameless file.

    Returns:
        the open file and its length.
    """
    file = budget.opened.enter_context(_nameless())
    size = 0
    for piece in pieces:
        budget.spend(len(piece))
        file.write(piece)
        size += len(piece)
    return file, size


def in_memory(data: bytes) -> Readable:
    """Return bytes as a file."""
    return io.BytesIO(data)


def _nameless() -> "tempfile.SpooledTemporaryFile[bytes]":
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)
