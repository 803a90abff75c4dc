"""An archive that two programs could read in two ways is refused."""

import io
import struct
import warnings
import zipfile
import zlib

import pytest

from tests.checkpoint import assemble as a
from wherry.checkpoint.archive import Archive
from wherry.checkpoint.findings import UncleanError

MEMBERS = {"m/one": b"first", "m/two": b"second" * 50}


def opened(raw: bytes) -> Archive:
    return Archive(io.BytesIO(raw), len(raw))


def replaced(raw: bytes, signature: bytes, offset: int, value: bytes, last: bool = False) -> bytes:
    at = (raw.rfind if last else raw.find)(signature) + offset
    return raw[:at] + value + raw[at + len(value) :]


PLAIN = a.archive(MEMBERS)
CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_ordinary_archive_is_read(method: int) -> None:
    archive = opened(a.archive(MEMBERS, method))

    assert {name: archive.read(name, 1000) for name in archive.members} == MEMBERS


def test_data_descriptors_and_wide_members_are_read() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as file:
        file.writestr("m/described", b"abc")
    wide = io.BytesIO()
    with zipfile.ZipFile(wide, "w") as file, file.open("m/wide", "w", force_zip64=True) as member:
        member.write(b"abc")

    assert opened(pipe.getvalue()).read("m/described", 10) == b"abc"
    assert opened(wide.getvalue()).read("m/wide", 10) == b"abc"


def twice(name: str, other: str) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as file:
        warnings.simplefilter("ignore")
        file.writestr(name, b"1")
        file.writestr(other, b"2")
    return buffer.getvalue()


def with_gap() -> bytes:
    start = PLAIN.find(CENTRAL)
    raw = PLAIN[:start] + b"hidden" + PLAIN[start:]
    return replaced(raw, END, 16, struct.pack("<I", start + 6))


HOSTILE = {
    "two members of one name": twice("m/one", "m/one"),
    "two names that differ in case": twice("m/one", "m/ONE"),
    "a path that escapes": a.archive({"../x": b""}),
    "an absolute path": a.archive({"/x": b""}),
    "a drive": a.archive({"c:/x": b""}),
    "a folder": a.archive({"m/": b""}),
    "a backslash": replaced(replaced(PLAIN, b"m/two", 1, b"\\"), b"m/two", 1, b"\\"),
    "encrypted": replaced(replaced(PLAIN, CENTRAL, 8, b"\x01"), LOCAL, 6, b"\x01"),
    "unknown packing": replaced(replaced(PLAIN, CENTRAL, 10, b"\x0c"), LOCAL, 8, b"\x0c"),
    "another name in the local header": replaced(PLAIN, b"m/one", 2, b"two"),
    "another packing in the local header": replaced(PLAIN, LOCAL, 8, b"\x08"),
    "another length in the local header": replaced(PLAIN, LOCAL, 22, b"\x04"),
    "other flags in the local header": replaced(PLAIN, LOCAL, 6, b"\x02"),
    "two members at one place": replaced(PLAIN, CENTRAL, 42, b"\x00", last=True),
    "a bomb": a.archive({"m/zeros": bytes(20 << 20)}, zipfile.ZIP_DEFLATED),
    "too many members": replaced(PLAIN, END, 12, b"\xff\xff\xff\xff"),
    "bytes before the directory": with_gap(),
    "bytes in front": b"#!" + PLAIN,
    "bytes behind": PLAIN + b"\x00",
    "a comment": replaced(PLAIN, END, 20, b"\x01"),
    "a second disk": replaced(PLAIN, END, 4, b"\x01"),
    "a wrong count": replaced(PLAIN, END, 8, b"\x03\x00\x03\x00"),
    "a smaller count": replaced(PLAIN, END, 8, b"\x01\x00\x01\x00"),
    "an entry that is none": replaced(PLAIN, CENTRAL, 0, b"PK\x09\x09"),
    "a name that is no text": replaced(replaced(PLAIN, b"m/two", 1, b"\xff"), b"m/two", 1, b"\xff"),
    "stored with two lengths": replaced(PLAIN, CENTRAL, 20, b"\x04"),
    "64-bit sizes that are missing": replaced(PLAIN, CENTRAL, 20, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    "a truncated local header": PLAIN[:3],
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_ambiguous_archive_is_refused(raw: bytes) -> None:
    with pytest.raises(UncleanError):
        opened(raw)


def test_a_member_is_verified_when_it_is_read() -> None:
    archive = opened(PLAIN.replace(b"first", b"worse"))

    with pytest.raises(UncleanError, match="checksum"):
        archive.verify("m/one")
    with pytest.raises(UncleanError, match="at most 3"):
        archive.read("m/two", 3)


@pytest.mark.parametrize("damage", ["longer", "noise", "short"])
def test_a_packed_member_ends_where_its_header_says(damage: str) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(b"abc" * 40) + packer.flush()
    raw = a.archive({"m/x": b"abc" * 40}, zipfile.ZIP_DEFLATED)
    at = raw.find(packed)
    assert at > 0
    broken = {
        "longer": replaced(replaced(raw, CENTRAL, 24, b"\x10"), LOCAL, 22, b"\x10"),
        "noise": raw[:at] + b"\xff" * len(packed) + raw[at + len(packed) :],
        "short": raw[:at] + b"\x03\x00".ljust(len(packed), b"\x00") + raw[at + len(packed) :],
    }[damage]

    with pytest.raises(UncleanError):
        opened(broken).verify("m/x")


def wide_end(**changes: int) -> bytes:
    """Return an archive with 64-bit end records, as torch writes them, with some fields changed."""
    start = PLAIN.find(CENTRAL)
    end = PLAIN.find(END)
    fields = {"count": 2, "length": end - start, "start": start, "at": end, "disks": 1, "record": 44} | changes
    count, length = fields["count"], fields["length"]
    record = struct.pack(
        "<4sQ2H2I4Q", b"PK\x06\x06", fields["record"], 45, 45, 0, 0, count, count, length, fields["start"]
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, fields["at"], fields["disks"])
    return PLAIN[:end] + record + locator + PLAIN[end:]


def test_a_wide_end_record_is_read_and_must_agree() -> None:
    assert set(opened(wide_end()).members) == set(MEMBERS)
    for change in ({"count": 3}, {"length": 9}, {"start": 1}, {"at": 7}, {"disks": 2}, {"record": 45}):
        with pytest.raises(UncleanError):
            opened(wide_end(**change))


def wide_member(extra: bytes) -> bytes:
    """Return an archive of one member whose directory entry says: look for the sizes in the extra field."""
    data, name = b"abc", b"m/x"
    crc, full = zlib.crc32(data), 0xFFFFFFFF
    local = struct.pack("<4s5H3I2H", LOCAL, 45, 0, 0, 0, 0, crc, len(data), len(data), len(name), 0) + name + data
    entry = (
        struct.pack("<4s6H3I5H2I", CENTRAL, 45, 45, 0, 0, 0, 0, crc, full, full, 3, len(extra), 0, 0, 0, 0, 0) + name
    )
    directory = entry + extra
    return local + directory + struct.pack("<4s4H2IH", END, 0, 0, 1, 1, len(directory), len(local), 0)


def test_sizes_of_64_bits_are_read_from_the_extra_field() -> None:
    other = struct.pack("<2H", 0x7875, 1) + b"x"
    sizes = struct.pack("<2H2Q", 1, 16, 3, 3)

    assert opened(wide_member(other + sizes)).read("m/x", 10) == b"abc"
    for extra in (b"", other, struct.pack("<2HQ", 1, 8, 3), struct.pack("<2H2Q", 1, 16, 3, 4)):
        with pytest.raises(UncleanError):
            opened(wide_member(extra))


def test_a_file_that_shrinks_while_it_is_read_is_damaged() -> None:
    file = io.BytesIO(PLAIN)
    archive = Archive(file, len(PLAIN))
    file.truncate(PLAIN.find(b"second"))

    with pytest.raises(UncleanError, match="ends before"):
        archive.verify("m/two")


def test_a_descriptor_must_repeat_the_header() -> None:
    raw = replaced(replaced(PLAIN, CENTRAL, 8, b"\x08"), LOCAL, 6, b"\x08")

    with pytest.raises(UncleanError, match="does not repeat"):
        opened(raw)
