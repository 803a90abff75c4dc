"""A strict reader of zip archives: one reading only, the same for every program.

Zip can be read from its directory or from its local headers, and the two can be made to disagree. This reader accepts
an archive only when the members lie one behind the other from the first byte, each local header says what the
directory says, and the directory and its end record fill the rest to the last byte. Layout: PKWARE APPNOTE 6.3.10.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from wherry.checkpoint.findings import damaged, forbidden
from wherry.checkpoint.parts import CHUNK, MAX_RATIO, Part, Readable, Window, spill

_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_STORED, _DEFLATED = 0, 8
_DESCRIPTOR_FLAG = 0x0008
_KNOWN_FLAGS = 0x080E  # UTF-8 names, data descriptor, and the two bits for how hard deflate tried
_MAX32 = 0xFFFFFFFF
MAX_MEMBERS = 500_000
MAX_DIRECTORY = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of an archive, as both headers describe it."""

    name: str
    method: int
    flags: int
    crc: int
    packed: int
    """Bytes in the archive."""
    size: int
    """Bytes when unpacked."""
    offset: int
    """Where its local header begins."""
    data: int = 0
    """Where its bytes begin."""


class Archive:
    """A checked archive over an open file."""

    def __init__(self, file: Readable, size: int, *, folders: bool = False) -> None:
        """Read and compare both sets of headers.

        Args:
            file: the archive.
            size: its length in bytes.
            folders: whether it may have entries for folders, which no archive of torch has.

        Raises:
            UncleanError: the archive is truncated, or can be read in more than one way.
        """
        self._file = file
        directory, count, start = self._find_directory(size)
        listed = sorted(_entries(directory, count), key=lambda member: member.offset)
        _check_names(listed, folders=folders)
        if sum(member.size for member in listed) > MAX_RATIO * size + CHUNK:
            raise forbidden("The archive unpacks to more than a hundred times its length.", code="expansion")
        self.members: dict[str, Member] = {}
        position = 0
        for member in listed:
            found, position = self._check_local(member, position)
            self.members[found.name] = found
        if position != start:
            raise damaged("Bytes lie between the last member of the archive and its directory.", code="zip-gap")

    def read(self, name: str, limit: int) -> bytes:
        """Return the unpacked bytes of a member of at most `limit` bytes."""
        member = self.members[name]
        if member.size > limit:
            msg = f"It is {member.size} bytes long, and at most {limit} are read."
            raise forbidden(msg, where=name)
        return b"".join(self._unpack(member))

    def is_folder(self, name: str) -> bool:
        """Return whether a member is only the entry of a folder."""
        return name.endswith("/")

    def part(self, name: str, outer: Part) -> Part:
        """Return a member as a part of its own, verified: a stretch of the archive, or what was unpacked from it."""
        member = self.members[name]
        if member.method == _STORED:
            self.verify(name)
            return outer.inner(Window(self._file, member.data, member.size), member.size, name)
        file, size = spill(self._unpack(member), outer.budget)
        return outer.inner(file, size, name)

    def verify(self, name: str) -> None:
        """Read a member to its end and compare its length and CRC-32."""
        for _ in self._unpack(self.members[name]):
            continue

    def _unpack(self, member: Member) -> Iterator[bytes]:
        crc, size = 0, 0
        for piece in self._pieces(member):
            crc, size = zlib.crc32(piece, crc), size + len(piece)
            if size > member.size:
                raise forbidden("It unpacks to more than its header says.", where=member.name, code="expansion")
            yield piece
        if size != member.size or crc != member.crc:
            raise damaged(
                "Its bytes do not have the length and the checksum of its header.",
                where=member.name,
                code="zip-checksum",
            )

    def _pieces(self, member: Member) -> Iterator[bytes]:
        position, left = member.data, member.packed
        inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == _DEFLATED else None
        while left:
            self._file.seek(position)
            raw = self._file.read(min(CHUNK, left))
            if not raw:
                raise damaged("It ends before its length is reached.", where=member.name, code="zip-structure")
            position, left = position + len(raw), left - len(raw)
            if inflate is None:
                yield raw
                continue
            while raw:
                try:
                    piece = inflate.decompress(raw, CHUNK)
                except zlib.error as error:
                    raise damaged("It does not unpack.", where=member.name, code="zip-structure") from error
                raw = inflate.unconsumed_tail
                yield piece
        if inflate is not None and (not inflate.eof or inflate.unused_data):
            raise damaged("Its packed bytes do not end where its header says.", where=member.name, code="zip-structure")

    def _at(self, position: int, length: int) -> bytes:
        self._file.seek(position)
        raw = self._file.read(length)
        if len(raw) != length:
            raise damaged("The archive is truncated.", code="truncated")
        return raw

    def _find_directory(self, size: int) -> tuple[bytes, int, int]:
        if size < _END.size:
            raise damaged("The archive is truncated.", code="truncated")
        end = size - _END.size
        signature, disk, first, here, count, length, start, comment = _END.unpack(self._at(end, _END.size))
        if signature != b"PK\x05\x06" or comment:
            raise damaged(
                "The archive does not end with its directory: it is truncated, or something was added.",
                code="truncated",
            )
        if disk or first or here != count:
            raise damaged("The archive says that it spans several files.", code="zip-structure")
        behind = end
        wide = self._end64(end)
        if wide is not None:
            behind, count64, length64, start64 = wide
            agree = all(
                narrow in (full, limit)
                for narrow, full, limit in (
                    (count, count64, 0xFFFF),
                    (length, length64, _MAX32),
                    (start, start64, _MAX32),
                )
            )
            if not agree:
                raise forbidden("The two end records of the archive disagree.", code="zip-disagree")
            count, length, start = count64, length64, start64
        if start + length != behind:
            raise damaged("The archive's directory does not lie where its end record says.", code="zip-structure")
        if count > MAX_MEMBERS or length > MAX_DIRECTORY:
            raise forbidden("The archive has more members than any checkpoint.", code="expansion")
        return self._at(start, length), count, start

    def _end64(self, end: int) -> tuple[int, int, int, int] | None:
        at = end - _LOCATOR64.size
        if at < _END64.size:
            return None
        signature, disk, where, disks = _LOCATOR64.unpack(self._at(at, _LOCATOR64.size))
        if signature != b"PK\x06\x07":
            return None
        if disk or disks != 1 or where != at - _END64.size:
            raise damaged("The archive's 64-bit end record does not lie where its locator says.", code="zip-structure")
        record = _END64.unpack(self._at(where, _END64.size))
        if (
            record[0] != b"PK\x06\x06"
            or record[1] != _END64.size - 12
            or record[4]
            or record[5]
            or record[6] != record[7]
        ):
            raise damaged("The archive's 64-bit end record is not one.", code="zip-structure")
        return where, record[7], record[8], record[9]

    def _check_local(self, member: Member, position: int) -> tuple[Member, int]:
        if member.offset != position:
            raise forbidden(
                "Members of the archive overlap, or bytes lie between them.", where=member.name, code="zip-overlap"
            )
        fields = _LOCAL.unpack(self._at(position, _LOCAL.size))
        signature, _, flags, method, _, _, crc, packed, size, name_length, extra_length = fields
        name = self._at(position + _LOCAL.size, name_length)
        described = bool(flags & _DESCRIPTOR_FLAG)
        blank = described and (crc, packed, size) == (0, 0, 0)
        wide = _MAX32 in (packed, size)
        same = signature == b"PK\x03\x04" and (flags, method) == (member.flags, member.method)
        same = same and name == member.name.encode()
        if not same or not (blank or wide or (crc, packed, size) == (member.crc, member.packed, member.size)):
            raise forbidden(
                "A member's own header says something else than the archive's directory.",
                where=member.name,
                code="zip-disagree",
            )
        data = position + _LOCAL.size + name_length + extra_length
        end = data + member.packed
        if described:
            end += self._descriptor(member, end)
        checked = Member(
            name=member.name,
            method=method,
            flags=flags,
            crc=member.crc,
            packed=member.packed,
            size=member.size,
            offset=position,
            data=data,
        )
        return checked, end

    def _descriptor(self, member: Member, position: int) -> int:
        for layout in ("<4sIII", "<4sIQQ"):
            length = struct.calcsize(layout)
            raw = self._at(position, length)
            if struct.unpack(layout, raw) == (b"PK\x07\x08", member.crc, member.packed, member.size):
                return length
        raise forbidden(
            "What follows a member does not repeat its length and checksum.", where=member.name, code="zip-disagree"
        )


def _entries(directory: bytes, count: int) -> Iterator[Member]:
    position = 0
    for _ in range(count):
        if position + _ENTRY.size > len(directory):
            raise damaged("The archive's directory is shorter than its end record says.", code="zip-structure")
        fields = _ENTRY.unpack_from(directory, position)
        signature, _, _, flags, method, _, _, crc, packed, size, *lengths, disk, _, _, offset = fields
        if signature != b"PK\x01\x02" or disk:
            raise damaged("The archive's directory holds something else than entries.", code="zip-structure")
        name_end = position + _ENTRY.size + lengths[0]
        extra_end = name_end + lengths[1]
        name = _text(directory[position + _ENTRY.size : name_end])
        extra = directory[name_end:extra_end]
        size, packed, offset = _widen(extra, [size, packed, offset], name)
        member = Member(name=name, method=method, flags=flags, crc=crc, packed=packed, size=size, offset=offset)
        _check_member(member)
        yield member
        position = extra_end + lengths[2]
    if position != len(directory):
        raise damaged("The archive's directory is longer than its entries.", code="zip-structure")


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise damaged("A member's name is not UTF-8 text.", code="zip-structure") from error


def _widen(extra: bytes, values: list[int], name: str) -> list[int]:
    """Replace the 32-bit values that are full by those of the 64-bit extra field."""
    if _MAX32 not in values:
        return values
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        field = extra[position + 4 : position + 4 + length]
        position += 4 + length
        if kind != 1:
            continue
        wanted = [index for index, value in enumerate(values) if value == _MAX32]
        if len(field) < 8 * len(wanted):
            break
        for index, value in zip(wanted, struct.iter_unpack("<Q", field[: 8 * len(wanted)]), strict=True):
            values[index] = value[0]
        return values
    raise damaged("Its 64-bit sizes are missing.", where=name, code="zip-structure")


def _check_member(member: Member) -> None:
    if member.flags & 0x2041:
        raise forbidden("It is encrypted.", where=member.name, code="zip-encrypted")
    if member.flags & ~_KNOWN_FLAGS or member.method not in (_STORED, _DEFLATED):
        raise forbidden("It is packed in a way that no checkpoint uses.", where=member.name, code="zip-flags")
    if member.method == _STORED and member.packed != member.size:
        raise damaged("It is stored, yet its two lengths differ.", where=member.name, code="zip-structure")


def _check_names(members: list[Member], *, folders: bool) -> None:
    seen: set[str] = set()
    for member in members:
        parts = (member.name.removesuffix("/") if folders and not member.size else member.name).split("/")
        if any(part in ("", ".", "..") for part in parts) or any(
            ord(char) < 32 or char in "\\:" for char in member.name
        ):
            raise forbidden(
                "The archive has a member whose name is not a plain relative path.",
                where=member.name[:80],
                code="zip-path",
            )
        folded = member.name.casefold()
        if folded in seen:
            raise forbidden("The archive has two members of one name.", where=member.name, code="zip-duplicate")
        seen.add(folded)
