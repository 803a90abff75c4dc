"""The container: one accepted layout, every other .zip or folder refused with its reason."""

import io
import os
import random
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bundle.publishers import write_members
from wherry.bundle.archive import Source, write_archive
from wherry.bundle.container import open_bundle
from wherry.bundle.layout import MAX_MEMBERS
from wherry.bundle.zipformat import END, Member, encode_directory, encode_local
from wherry.core.digest import FileRef
from wherry.core.errors import BundleError, DigestMismatchError, NotFoundError, StorageError

CONTENTS = {"a.txt": b"first", "b/c.bin": bytes(range(256)), "empty": b""}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_members(tmp_path / "good.zip", CONTENTS)


def refused(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    assert caught.value.exit_code == 6
    return caught.value.message


def zip_of(path: Path, *infos: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in infos:
            archive.writestr(info, data)
    return path


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,6}(/[0-9]{1,3})?", fullmatch=True), st.binary(max_size=200), max_size=8))
def test_what_is_written_is_read_by_us_and_by_the_standard_library(members: dict[str, bytes]) -> None:
    folders = {name.split("/")[0] for name in members if "/" in name}
    members = {name: data for name, data in members.items() if name not in folders}
    file = io.BytesIO()
    digest, size = write_archive(file, {name: Source(data=data) for name, data in members.items()})
    assert size == len(file.getvalue())
    again = io.BytesIO()
    assert write_archive(again, {name: Source(data=members[name]) for name in reversed(members)}) == (digest, size)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == members
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())
        assert all(stat.S_IMODE(info.external_attr >> 16) == 0o644 for info in archive.infolist())


def test_members_can_be_read(good: Path) -> None:
    with open_bundle(good) as reader:
        assert reader.names() == tuple(sorted(CONTENTS))
        assert {name: reader.read(name, 10_000) for name in reader.names()} == CONTENTS
        assert reader.sizes() == {name: len(data) for name, data in CONTENTS.items()}
        interleaved = zip(reader.stream("b/c.bin"), reader.stream("b/c.bin"), strict=True)
        assert all(left == right for left, right in interleaved)
        with pytest.raises(BundleError, match="at most 10"):
            reader.read("b/c.bin", 10)
        with pytest.raises(BundleError, match="has no x"):
            reader.read("x", 10)
        with pytest.raises(BundleError, match="has no x"):
            reader.stream("x")


def test_a_folder_reads_the_same(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with zipfile.ZipFile(good) as archive:
        archive.extractall(folder)
    (folder / ".DS_Store").write_bytes(b"left by a file manager")
    with open_bundle(folder) as reader:
        assert {name: reader.read(name, 10_000) for name in reader.names()} == CONTENTS
        with pytest.raises(BundleError, match="has no x"):
            reader.stream("x")
        (folder / "a.txt").write_bytes(b"f")
        with pytest.raises(BundleError, match="shorter than before"):
            reader.read("a.txt", 100)
        (folder / "a.txt").unlink()
        (folder / "a.txt").symlink_to("/etc/hostname")
        with pytest.raises(StorageError):
            reader.read("a.txt", 100)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = write_members(tmp_path / "large.zip", {"large": bytes(3 << 20)})
    with open_bundle(path) as reader:
        os.truncate(path, 2 << 20)
        with pytest.raises(BundleError, match="shorter than before"):
            reader.read("large", 4 << 20)


def test_every_flipped_byte_outside_the_contents_is_found(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    with open_bundle(good) as reader:
        members = [reader._members[name] for name in reader.names()]
    inside = {position for member in members for position in range(member.data_offset, member.end)}
    outside = [position for position in range(len(data)) if position not in inside]
    assert len(outside) > 250
    bad = tmp_path / "bad.zip"
    for position in outside:
        for mask in (0x01, 0xA0):
            flipped = bytearray(data)
            flipped[position] ^= mask
            bad.write_bytes(flipped)
            try:
                with open_bundle(bad) as reader:
                    pytest.fail(f"byte {position} ^ {mask} went through as {reader.sizes()}")
            except BundleError:
                pass


def test_the_checksum_field_is_part_of_the_layout(good: Path, tmp_path: Path) -> None:
    """Changed in both headers alike, a CRC is what the layout cannot see; contents are checked by digest anyway."""
    data = bytearray(good.read_bytes())
    crc = data[14:18]
    for position in (data.find(crc), data.rfind(crc)):
        data[position] ^= 1
    bad = tmp_path / "bad.zip"
    bad.write_bytes(data)
    with open_bundle(bad) as reader:
        assert reader.read("a.txt", 100) == CONTENTS["a.txt"]


def test_every_truncation_and_every_addition_is_found(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    bad = tmp_path / "bad.zip"
    bad.write_bytes(data)
    for length in reversed(range(len(data))):
        os.truncate(bad, length)
        refused(bad)
    for changed in (data + b"\0", b"\0" + data, data + data, b"MZ" + data, data + b"comment"):
        bad.write_bytes(changed)
        refused(bad)


def test_random_bytes_and_other_files_are_no_bundles(tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    noise = random.Random(7)
    for length in (0, 1, 21, 22, 98, 1000):
        bad.write_bytes(noise.randbytes(length))
        refused(bad)
    bad.write_bytes(b"\x93NUMPY" + bytes(200))
    assert "truncated, or no .zip" in refused(bad)


def test_an_empty_zip_is_a_container_without_members(tmp_path: Path) -> None:
    with open_bundle(write_members(tmp_path / "empty.zip", {})) as reader:
        assert reader.names() == ()


@pytest.mark.parametrize("name", ["../evil", "/abs", "a/../b", "C:/x", "a\\b", "x:ads", "NUL.txt", "caf\u00e9", "a//b"])
def test_names_that_escape_are_refused(tmp_path: Path, name: str) -> None:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    assert "is not a bundle" in refused_or_damaged(zip_of(tmp_path / "bad.zip", (info, b"x")))


def refused_or_damaged(path: Path) -> str:
    return refused(path).replace("is damaged", "is not a bundle")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), ("a", "a/b")])
def test_names_that_clash_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.warns(UserWarning, match="Duplicate") if names[0] == names[1] else _nothing():
        path = zip_of(tmp_path / "bad.zip", *((zipfile.ZipInfo(name), b"x") for name in names))
    assert "there twice" in (message := refused(path)) or "a file and a folder" in message


def _nothing() -> io.BytesIO:
    return io.BytesIO()


def test_a_compressed_bomb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    assert "compressed" in refused(path)


def test_links_encryption_and_two_lengths_are_refused(tmp_path: Path, good: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    link.create_system = 3
    assert "link or a special file" in refused(zip_of(tmp_path / "link.zip", (link, b"/etc/passwd")))
    central = good.read_bytes().index(b"PK\x01\x02")
    for at, value, clause in ((8, b"\x01", "encrypted"), (24, b"\x09", "two lengths"), (0, b"Q", "damaged")):
        data = bytearray(good.read_bytes())
        data[central + at : central + at + 1] = value
        (tmp_path / "bad.zip").write_bytes(data)
        assert clause in refused(tmp_path / "bad.zip")


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    """David Fifield's overlapping bomb: many directory lines that point at one member."""
    kernel = Member("a", 5, 0, 0)
    body = encode_local(kernel) + b"hello"
    lines = encode_directory([kernel, Member("b", 5, 0, 0)])
    directory = lines[: -END.size]
    end = END.pack(b"PK\x05\x06", 0, 0, 2, 2, len(directory), len(body), 0)
    (tmp_path / "bad.zip").write_bytes(body + directory + end)
    assert "header of 'b'" in refused(tmp_path / "bad.zip")


def test_other_peoples_zips_are_refused_even_if_stored(tmp_path: Path) -> None:
    assert "is not the one" in refused(
        zip_of(tmp_path / "other.zip", (zipfile.ZipInfo("a", (2024, 5, 5, 5, 5, 4)), b"x"))
    )


def test_a_directory_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.zip"
    with path.open("wb") as file:
        file.truncate(200_000_000)
        file.seek(0, os.SEEK_END)
        file.write(END.pack(b"PK\x05\x06", 0, 0, 9, 9, 150_000_000, 0, 0))
    assert "claims to hold" in refused(path)
    path.write_bytes(END.pack(b"PK\x05\x06", 0, 0, 60_000, 60_000, 100, 0, 0))
    assert "60000 files" in refused(path)
    path.write_bytes(END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 100, 0, 0))
    assert "truncated" in refused(path)
    path.write_bytes(bytes(200) + END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 100, 0, 0))
    assert "zip64 end record" in refused(path)


def test_zip64_is_used_beyond_four_gigabytes(tmp_path: Path) -> None:
    """A sparse file: 5 GB of hole, then a small member behind it."""
    path, size = tmp_path / "large.zip", 5 << 30
    large = Member("large", size, 0, 0)
    small = Member("small", 5, 0x3610A686, large.end)
    with path.open("wb") as file:
        file.write(encode_local(large))
        file.seek(small.offset)
        file.write(encode_local(small) + b"hello" + encode_directory([large, small]))
    assert path.stat().st_blocks * 512 < 1_000_000
    with open_bundle(path) as reader:
        assert reader.sizes() == {"large": size, "small": 5}
        assert reader.read("small", 10) == b"hello"
    with zipfile.ZipFile(path) as archive:
        assert archive.read("small") == b"hello"
        assert archive.getinfo("large").file_size == size
    bad = bytearray(encode_directory([large, small]))
    bad[bad.index(struct.pack("<Q", size))] ^= 1
    with path.open("r+b") as file:
        file.seek(small.end)
        file.write(bad)
    refused(path)


def test_a_folder_with_links_special_files_or_too_much_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    assert "link or a special file" in refused(folder)
    (folder / "link").unlink()
    for names in (["a b"], ["x", "X"], ["NUL.json"]):
        for name in names:
            (folder / name).write_bytes(b"")
        assert "is not a bundle" in refused(folder)
        for name in names:
            (folder / name).unlink()
    os.mkfifo(folder / "pipe")
    assert "link or a special file" in refused(folder)
    (folder / "pipe").unlink()
    deep = folder
    for _ in range(130):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"")
    assert "too deep" in refused(folder)


def test_a_folder_with_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.bundle.container.MAX_MEMBERS", 3)
    for number in range(4):
        (tmp_path / f"f{number}").write_bytes(b"")
    assert "too many files" in refused(tmp_path)
    assert MAX_MEMBERS == 10_000


def test_nothing_there_and_nothing_usable(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        open_bundle(tmp_path / "absent.zip")
    assert caught.value.exit_code == 4
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in refused(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        open_bundle(tmp_path / "file" / "below")


def test_a_file_that_is_not_what_was_promised_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"changed")
    source = Source(file=path, promised=FileRef.of("blob", b"promise"))
    with pytest.raises(DigestMismatchError), (tmp_path / "out.zip").open("w+b") as file:
        write_archive(file, {"blob": source})
    with pytest.raises(StorageError), (tmp_path / "out.zip").open("w+b") as file:
        write_archive(file, {"blob": Source(file=tmp_path / "absent")})
