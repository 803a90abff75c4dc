"""Opens what arrived, a .zip or an unpacked folder, and gives its members by name. Nothing in it is trusted yet.

A .zip is accepted in exactly one layout, the one that `zipformat` writes: stored, sorted, without gaps, comments, links
or anything in front or behind. What is not compressed cannot be a bomb, and there is no second way to read it.
"""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self, final

from wherry.bundle import zipdirectory
from wherry.bundle.layout import MAX_MEMBERS, MAX_PATH, set_fault
from wherry.bundle.zipformat import Member
from wherry.core.errors import BundleError, NotFoundError
from wherry.durable import CHUNK, storage_error, storage_errors

_LEFT_BY_FILE_MANAGERS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


class BundleReader(ABC):
    """Members of a bundle by name. Use as a context manager."""

    path: Path

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Return every member's name and length in bytes."""

    @abstractmethod
    def stream(self, name: str) -> Iterator[bytes]:
        """Give a member's bytes in pieces of at most 1 MiB.

        Raises:
            BundleError: there is no such member, or it is shorter than it was.
            StorageError: it cannot be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    @final
    def names(self) -> tuple[str, ...]:
        """Return every member's name, sorted."""
        return tuple(sorted(self.sizes()))

    @final
    def read(self, name: str, limit: int) -> bytes:
        """Return a small member whole.

        Raises:
            BundleError: there is no such member, or it is longer than `limit` bytes.
            StorageError: it cannot be read.
        """
        size = self.sizes().get(name)
        if size is None:
            raise self._missing(name)
        if size > limit:
            msg = f"{self.path.name} is not a bundle: {name} has {size} bytes, at most {limit} are allowed."
            raise BundleError(msg)
        return b"".join(self.stream(name))

    @final
    def _missing(self, name: str) -> BundleError:
        return BundleError(f"{self.path.name} is not complete: it has no {name}.")

    @final
    def _shorter(self, name: str) -> BundleError:
        return BundleError(f"{self.path.name} has changed while it was read: {name} is shorter than before.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_bundle(path: Path) -> BundleReader:
    """Open the .zip or the folder at `path`, having checked names and layout of everything in it.

    Raises:
        NotFoundError: there is nothing.
        BundleError: it is truncated, damaged, hostile, or not a bundle at all.
        StorageError: it cannot be read.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        msg = f"There is no bundle at {path}."
        raise NotFoundError(msg) from error
    except OSError as error:
        raise storage_error(path, error) from error
    if stat.S_ISDIR(mode):
        return FolderBundle(path)
    if stat.S_ISREG(mode):
        return ZipBundle(path)
    msg = f"{path} is neither a file nor a folder."
    raise BundleError(msg)


@final
class ZipBundle(BundleReader):
    """A bundle as one .zip."""

    def __init__(self, path: Path) -> None:
        """Check the whole layout; see `open_bundle`."""
        self.path = path
        with storage_errors(path):
            self._file: IO[bytes] = path.open("rb")
        try:
            with storage_errors(path):
                self._members = {member.name: member for member in zipdirectory.read_members(self._file, path.name)}
        except BaseException:
            self._file.close()
            raise

    def sizes(self) -> dict[str, int]:
        """Return every member's name and length in bytes."""
        return {name: member.size for name, member in self._members.items()}

    def stream(self, name: str) -> Iterator[bytes]:
        """Give a member's bytes in pieces; see `BundleReader.stream`."""
        member = self._members.get(name)
        if member is None:
            raise self._missing(name)
        return self._pieces(member)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _pieces(self, member: Member) -> Iterator[bytes]:
        position, left = member.data_offset, member.size
        while left:
            with storage_errors(self.path):
                self._file.seek(position)
                piece = self._file.read(min(CHUNK, left))
            if not piece:
                raise self._shorter(member.name)
            position, left = position + len(piece), left - len(piece)
            yield piece


@final
class FolderBundle(BundleReader):
    """A bundle as an unpacked folder: plain files only, links are refused."""

    def __init__(self, path: Path) -> None:
        """Walk the folder; see `open_bundle`."""
        self.path = path
        self._sizes: dict[str, int] = {}
        with storage_errors(path):
            self._walk(path, "")
        fault = set_fault(self._sizes)
        if fault is not None:
            msg = f"{path.name} is not a bundle: {fault}."
            raise BundleError(msg)

    def sizes(self) -> dict[str, int]:
        """Return every member's name and length in bytes."""
        return dict(self._sizes)

    def stream(self, name: str) -> Iterator[bytes]:
        """Give a member's bytes in pieces; see `BundleReader.stream`."""
        if name not in self._sizes:
            raise self._missing(name)
        return self._pieces(name, self._sizes[name])

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _walk(self, folder: Path, prefix: str) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.name in _LEFT_BY_FILE_MANAGERS:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    self._walk(Path(entry.path), f"{name}/")
                elif entry.is_file(follow_symlinks=False):
                    self._sizes[name] = entry.stat(follow_symlinks=False).st_size
                else:
                    msg = f"{self.path.name} is not a bundle: {name!r} is a link or a special file."
                    raise BundleError(msg)
                if len(self._sizes) > MAX_MEMBERS or len(name) > MAX_PATH:
                    msg = f"{self.path.name} is not a bundle: it has too many files or too deep folders."
                    raise BundleError(msg)

    def _pieces(self, name: str, size: int) -> Iterator[bytes]:
        # A link that was put in the file's place since the walk is not followed, where the system can say so.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        with storage_errors(self.path / name):
            descriptor = os.open(self.path / name, flags)
        with os.fdopen(descriptor, "rb") as file:
            left = size
            while left:
                with storage_errors(self.path / name):
                    piece = file.read(min(CHUNK, left))
                if not piece:
                    raise self._shorter(name)
                left -= len(piece)
                yield piece
