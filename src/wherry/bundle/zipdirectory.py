"""Reads the directory of a bundle's .zip and refuses every byte that `zipformat` would not have written."""

import os
import stat
import struct
from typing import IO

from wherry.bundle.layout import MAX_MEMBERS, MAX_PATH, set_fault
from wherry.bundle.zipformat import (
    CENTRAL,
    CENTRAL_SIGNATURE,
    END,
    END64,
    END64_SIGNATURE,
    END_SIGNATURE,
    LOCATOR64,
    Member,
    encode_directory,
    encode_local,
)
from wherry.core.errors import BundleError

_MAX_DIRECTORY = MAX_MEMBERS * (CENTRAL.size + MAX_PATH + 32)
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x1 | 0x40 | 0x2000


class _FaultError(Exception):
    """What is wrong with the file, as a clause."""


def read_members(file: IO[bytes], name: str) -> list[Member]:
    """Return the members in the order of their names.

    Args:
        file: the .zip, open for reading.
        name: what to call it in an error.

    Raises:
        BundleError: truncated, damaged, compressed, encrypted, holding a link, or laid out in any other way than ours.
        OSError: it cannot be read.
    """
    try:
        return _read(file)
    except _FaultError as fault:
        msg = f"{name} is not a bundle: {fault}."
        raise BundleError(msg) from None
    except (struct.error, UnicodeDecodeError) as error:
        msg = f"{name} is damaged: its directory cannot be read."
        raise BundleError(msg) from error


def _read(file: IO[bytes]) -> list[Member]:
    size = file.seek(0, os.SEEK_END)
    count, length, start = _find_directory(file, size)
    if count > MAX_MEMBERS or length > _MAX_DIRECTORY:
        msg = f"it claims to hold {count} files, at most {MAX_MEMBERS} are allowed"
        raise _FaultError(msg)
    if start + length > size:
        msg = "it is truncated"
        raise _FaultError(msg)
    file.seek(start)
    tail = file.read(length + END.size + END64.size + LOCATOR64.size)
    members = _parse(tail[:length], count)
    _check_layout(file, members, tail, start)
    return members


def _find_directory(file: IO[bytes], size: int) -> tuple[int, int, int]:
    """Return how many members there are, how long the directory is and where it starts."""
    if size < END.size:
        msg = "it is too short"
        raise _FaultError(msg)
    file.seek(size - END.size)
    signature, _, _, _, count, length, start, comment = END.unpack(file.read(END.size))
    if signature != END_SIGNATURE or comment:
        msg = "it is truncated, or no .zip, or something was added to its end"
        raise _FaultError(msg)
    if count < _MAX16 and length < _MAX32 and start < _MAX32:
        return count, length, start
    at = size - END.size - LOCATOR64.size - END64.size
    if at < 0:
        msg = "it is truncated"
        raise _FaultError(msg)
    file.seek(at)
    signature, _, _, _, _, _, _, count, length, start = END64.unpack(file.read(END64.size))
    if signature != END64_SIGNATURE:
        msg = "its zip64 end record is missing"
        raise _FaultError(msg)
    return count, length, start


def _parse(directory: bytes, count: int) -> list[Member]:
    members, position = [], 0
    for _ in range(count):
        fields = CENTRAL.unpack_from(directory, position)
        signature, made_by, _, flags, method, _, _, crc, packed, size, name_length, extra_length, comment_length = (
            fields[:13]
        )
        attributes, offset = fields[15:]
        if signature != CENTRAL_SIGNATURE:
            msg = "its directory is damaged"
            raise _FaultError(msg)
        position += CENTRAL.size
        raw = directory[position : position + name_length]
        extra = directory[position + name_length : position + name_length + extra_length]
        position += name_length + extra_length + comment_length
        _check_entry(raw, flags, method, attributes if made_by >> 8 else 0)
        if packed != size:
            msg = f"{raw!r} has two lengths"
            raise _FaultError(msg)
        size, offset = _zip64(extra, size, offset)
        members.append(Member(raw.decode("ascii"), size, crc, offset))
    return members


def _check_entry(raw: bytes, flags: int, method: int, attributes: int) -> None:
    kind = stat.S_IFMT(attributes >> 16)
    if flags & _ENCRYPTED:
        msg = f"{raw!r} is encrypted"
        raise _FaultError(msg)
    if method:
        msg = f"{raw!r} is compressed, and bundles never are"
        raise _FaultError(msg)
    if kind not in (0, stat.S_IFREG):
        msg = f"{raw!r} is a link or a special file"
        raise _FaultError(msg)


def _zip64(extra: bytes, size: int, offset: int) -> tuple[int, int]:
    position = 4
    if size == _MAX32:
        (size,) = struct.unpack_from("<Q", extra, position)
        position += 16
    if offset == _MAX32:
        (offset,) = struct.unpack_from("<Q", extra, position)
    return size, offset


def _check_layout(file: IO[bytes], members: list[Member], tail: bytes, start: int) -> None:
    names = [member.name for member in members]
    fault = set_fault(names)
    if fault is not None:
        raise _FaultError(fault)
    expected = 0
    for member in members:
        file.seek(member.offset)
        header = encode_local(member)
        if member.offset != expected or file.read(len(header)) != header:
            msg = f"the header of {member.name!r} is not the one that its directory promises"
            raise _FaultError(msg)
        expected = member.end
    if expected != start or names != sorted(names) or tail != encode_directory(members):
        msg = "its directory is damaged, or was not written by wherry"
        raise _FaultError(msg)
