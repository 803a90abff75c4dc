"""The journal: what happened on this device, one JSON line each, chained by digest, fsynced line by line.

Each line carries the digest of the line before it and of itself, so a line that was changed, removed or slipped in
later shows. A line that a power cut tore is the last one and has no end of line: readers leave it out, and the next
writer cuts it off.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from wherry.core.digest import sha256_hex
from wherry.core.errors import StorageError
from wherry.durable import fsync_dir, fsync_file, storage_errors

GENESIS = "0" * 64
_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One thing that happened."""

    seq: int
    at: str
    """UTC, ISO 8601."""
    kind: str
    """`installed`, `refused`, `rolled_back`, `recovered`, …"""
    release: str | None = None
    """Folder name of the release it is about."""
    why: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    """Reasons and numbers."""
    previous: str = GENESIS
    """Digest of the entry before this one."""
    sha256: str = ""
    """Digest of this entry with an empty `sha256`."""

    @property
    def message(self) -> str:
        """The release and the reason in one line, for people."""
        return ": ".join(part for part in (self.release, self.why) if part)


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal in one file."""

    path: Path

    def append(self, kind: str, *, release: str | None = None, why: str = "", **details: Any) -> JournalEntry:
        """Add an entry and return it once it is on the medium.

        Raises:
            StorageError: the file cannot be read or written; a half-written line is cut off by the next writer.
        """
        with storage_errors(self.path):
            existed = self.path.exists()
            with self.path.open("r+b" if existed else "w+b", buffering=0) as file:
                end, last = _tail(file.fileno())
                entry = _chained(last, kind, release, why, details)
                os.ftruncate(file.fileno(), end)
                file.seek(end)
                file.write(_line(entry))
                fsync_file(file.fileno())
            if not existed:
                fsync_dir(self.path.parent)
        return entry

    def note(self, kind: str, *, release: str | None = None, why: str = "", **details: Any) -> None:
        """Add an entry if the disk takes it: the way back must not fail because a report cannot be written."""
        try:
            self.append(kind, release=release, why=why, **details)
        except StorageError:
            return

    def last(self) -> JournalEntry | None:
        """Return the newest entry; None when there is none that can be read."""
        with storage_errors(self.path):
            try:
                with self.path.open("rb", buffering=0) as file:
                    return _tail(file.fileno())[1]
            except FileNotFoundError:
                return None

    def entries(self) -> list[JournalEntry]:
        """Return every entry that can be read, oldest first; a torn last line is left out.

        Raises:
            StorageError: the file cannot be read.
        """
        return [entry for _, entry in self._lines() if entry is not None]

    def problems(self) -> list[str]:
        """Return one sentence for each place at which the chain is broken; empty for an untouched journal."""
        found = []
        expected, seq = GENESIS, 0
        for number, entry in self._lines():
            if entry is None or entry.sha256 != _digest(entry):
                found.append(f"Line {number} of the journal was changed after it was written.")
            elif entry.previous != expected or entry.seq != seq + 1:
                found.append(f"Before line {number} of the journal something was removed or changed.")
            if entry is not None:
                expected, seq = entry.sha256, entry.seq
        return found

    def _lines(self) -> Iterator[tuple[int, JournalEntry | None]]:
        with storage_errors(self.path):
            try:
                data = self.path.read_bytes()
            except FileNotFoundError:
                return
        complete = data[: data.rfind(b"\n") + 1].splitlines()
        for number, line in enumerate(complete, start=1):
            yield number, _parse(line)


def _chained(
    last: JournalEntry | None, kind: str, release: str | None, why: str, details: dict[str, Any]
) -> JournalEntry:
    entry = JournalEntry(
        seq=last.seq + 1 if last else 1,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        kind=kind,
        release=release,
        why=why,
        details=details,
        previous=last.sha256 if last else GENESIS,
    )
    return replace(entry, sha256=_digest(entry))


def _digest(entry: JournalEntry) -> str:
    return sha256_hex(msgspec.json.encode(replace(entry, sha256=""), order="sorted"))


def _line(entry: JournalEntry) -> bytes:
    return msgspec.json.encode(entry, order="sorted") + b"\n"


def _parse(line: bytes) -> JournalEntry | None:
    try:
        return msgspec.json.decode(line, type=JournalEntry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _tail(descriptor: int) -> tuple[int, JournalEntry | None]:
    """Return where the last whole line ends, and the last entry that can be read; reads the end of the file only."""
    size = os.fstat(descriptor).st_size
    window = _TAIL_BYTES
    while True:
        start = max(0, size - window)
        os.lseek(descriptor, start, os.SEEK_SET)
        data = os.read(descriptor, size - start)
        end = data.rfind(b"\n") + 1
        last = _last_entry(data[:end], whole=start == 0)
        if last is not None or start == 0:
            return start + end if end or start == 0 else size, last
        window *= 8


def _last_entry(data: bytes, *, whole: bool) -> JournalEntry | None:
    lines = data.splitlines()
    for line in reversed(lines if whole else lines[1:]):
        entry = _parse(line)
        if entry is not None:
            return entry
    return None
