"""The one way a bundle's .zip is laid out (PKWARE APPNOTE 6.3.10, sections 4.3 and 4.5.3): headers to bytes and back.

Everything in a header follows from a member's name, length and CRC: stored without compression, dated 1980-01-01, mode
0644, zip64 fields exactly where a number does not fit. So equal contents give equal files, and a reader that encodes
what it has read and compares has checked every byte of every header.
"""

import struct
from dataclasses import dataclass

LOCAL_SIGNATURE = b"PK\x03\x04"
CENTRAL_SIGNATURE = b"PK\x01\x02"
END_SIGNATURE = b"PK\x05\x06"
END64_SIGNATURE = b"PK\x06\x06"
LOCATOR64_SIGNATURE = b"PK\x06\x07"

_LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
END64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR64 = struct.Struct("<4sIQI")

_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_PLAIN, _ZIP64 = 20, 45
_UNIX = 3
_DATE = (0 << 9) | (1 << 5) | 1
_ATTRIBUTES = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class Member:
    """One stored file: its header stands at `offset`, its bytes at `offset + local_length`."""

    name: str
    size: int
    crc: int
    offset: int

    @property
    def data_offset(self) -> int:
        """Where the bytes begin."""
        return self.offset + len(encode_local(self))

    @property
    def end(self) -> int:
        """Where the next thing begins."""
        return self.data_offset + self.size


def encode_local(member: Member) -> bytes:
    """Return the header before the member's bytes."""
    name, large = member.name.encode("ascii"), member.size >= _MAX32
    extra = struct.pack("<2H2Q", 1, 16, member.size, member.size) if large else b""
    size = _MAX32 if large else member.size
    version = _ZIP64 if large else _PLAIN
    fixed = _LOCAL.pack(LOCAL_SIGNATURE, version, 0, 0, 0, _DATE, member.crc, size, size, len(name), len(extra))
    return fixed + name + extra


def encode_central(member: Member) -> bytes:
    """Return the member's line in the directory at the end."""
    name, extra = member.name.encode("ascii"), b""
    size, offset = member.size, member.offset
    if member.size >= _MAX32:
        extra, size = struct.pack("<2Q", member.size, member.size), _MAX32
    if member.offset >= _MAX32:
        extra, offset = extra + struct.pack("<Q", member.offset), _MAX32
    version = _ZIP64 if extra else _PLAIN
    if extra:
        extra = struct.pack("<2H", 1, len(extra)) + extra
    made_by = _UNIX << 8 | version
    dates = (0, _DATE, member.crc)
    lengths = (len(name), len(extra), 0)
    fixed = CENTRAL.pack(
        CENTRAL_SIGNATURE, made_by, version, 0, 0, *dates, size, size, *lengths, 0, 0, _ATTRIBUTES, offset
    )
    return fixed + name + extra


def encode_directory(members: list[Member]) -> bytes:
    """Return everything behind the last member: directory and end records."""
    start = members[-1].end if members else 0
    lines = b"".join(encode_central(member) for member in members)
    count, length = len(members), len(lines)
    end64 = b""
    if count >= _MAX16 or start >= _MAX32 or length >= _MAX32:
        made_by = _UNIX << 8 | _ZIP64
        end64 = END64.pack(END64_SIGNATURE, END64.size - 12, made_by, _ZIP64, 0, 0, count, count, length, start)
        end64 += LOCATOR64.pack(LOCATOR64_SIGNATURE, 0, start + length, 1)
    count16, length32, start32 = min(count, _MAX16), min(length, _MAX32), min(start, _MAX32)
    return lines + end64 + END.pack(END_SIGNATURE, 0, 0, count16, count16, length32, start32, 0)
