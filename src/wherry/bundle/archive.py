"""Writes a bundle's one file: members sorted by name, stored, checked against their digests while they are copied."""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wherry.bundle.zipformat import Member, encode_directory, encode_local
from wherry.core.digest import FileRef
from wherry.core.errors import DigestMismatchError
from wherry.durable import CHUNK, storage_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What becomes a member: bytes at hand, or a file whose digest is already promised."""

    data: bytes = b""
    file: Path | None = None
    promised: FileRef | None = None


def write_archive(file: IO[bytes], members: Mapping[str, Source]) -> tuple[str, int]:
    """Write the .zip into an empty file and return its sha256 and its length. Memory does not grow with the members.

    Raises:
        DigestMismatchError: a member's file is not what was promised.
        StorageError: a member's file cannot be read.
        OSError: `file` cannot be written.
    """
    written = [_write_member(file, name, members[name]) for name in sorted(members)]
    file.write(encode_directory(written))
    file.flush()
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while piece := file.read(CHUNK):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _write_member(out: IO[bytes], name: str, source: Source) -> Member:
    offset = out.tell()
    if source.file is None:
        member = Member(name, len(source.data), zlib.crc32(source.data), offset)
        out.write(encode_local(member) + source.data)
        return member
    return _copy_member(out, name, source.file, source.promised)


def _copy_member(out: IO[bytes], name: str, path: Path, promised: FileRef | None) -> Member:
    """Copy the file and then fill in its header, whose length depends on the size alone."""
    with storage_errors(path):
        size, file = path.stat().st_size, path.open("rb")
    offset, crc, left, digest = out.tell(), 0, size, hashlib.sha256()
    out.write(encode_local(Member(name, size, 0, offset)))
    with file:
        while left and (piece := file.read(min(CHUNK, left))):
            crc, left = zlib.crc32(piece, crc), left - len(piece)
            digest.update(piece)
            out.write(piece)
    if left or (promised is not None and (promised.size, promised.sha256) != (size, digest.hexdigest())):
        msg = f"{path} is not the file that was packed as {name}."
        raise DigestMismatchError(msg, next_step="Pack the bundle again.")
    member, end = Member(name, size, crc, offset), out.tell()
    out.seek(offset)
    out.write(encode_local(member))
    out.seek(end)
    return member
