"""The content store: whole, verified, mended, and never outside its folder."""

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.core.digest import FileRef
from wherry.core.errors import BadInputError, DigestMismatchError, NotFoundError, StorageError
from wherry.registry.blobs import CHUNK, BlobStore, check_path, link_or_copy


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def staged(store: BlobStore) -> list[Path]:
    return list((store.folder / "staging").iterdir())


@given(data=st.binary(max_size=200))
@settings(max_examples=20, deadline=None)
def test_what_is_put_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = BlobStore(tmp_path_factory.getbasetemp() / "shared-blobs")
    ref = store.put_bytes("weights.pt", data)
    assert ref == FileRef.of("weights.pt", data)
    assert store.read(ref.sha256) == data


def test_a_file_larger_than_a_chunk_is_streamed_and_lies_under_its_digest(store: BlobStore, tmp_path: Path) -> None:
    data = os.urandom(3 * CHUNK + 17)
    (tmp_path / "big.pt").write_bytes(data)
    ref = store.put_file(tmp_path / "big.pt")
    assert ref == FileRef.of("big.pt", data)
    path = store.path(ref.sha256)
    assert path == store.folder / "sha256" / ref.sha256[:2] / ref.sha256
    assert path.read_bytes() == data
    assert not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    assert staged(store) == []


def test_a_file_may_get_another_name(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"a")
    assert store.put_file(tmp_path / "a.pt", "weights/EmberEye.pt").path == "weights/EmberEye.pt"


def test_the_same_content_is_stored_once(store: BlobStore) -> None:
    first = store.put_bytes("a", b"same")
    inode = store.path(first.sha256).stat().st_ino
    second = store.put_bytes("b", b"same")
    assert first.sha256 == second.sha256
    assert store.path(first.sha256).stat().st_ino == inode


@pytest.mark.parametrize("damage", [b"weightz", b"weig", b""])
def test_a_damaged_blob_is_refused_and_mended_by_putting_it_again(store: BlobStore, damage: bytes) -> None:
    ref = store.put_bytes("w", b"weights")
    path = store.path(ref.sha256)
    path.unlink()
    path.write_bytes(damage)
    with pytest.raises(DigestMismatchError, match="damaged"):
        store.read(ref.sha256)
    with pytest.raises(DigestMismatchError):
        store.check(ref.sha256)
    store.put_bytes("w", b"weights")
    assert store.read(ref.sha256) == b"weights"


def test_unknown_blobs_and_files_are_named(store: BlobStore, tmp_path: Path) -> None:
    for call in (store.read, store.path, store.check):
        with pytest.raises(NotFoundError, match="no blob 000000000000"):
            call("0" * 64)
    with pytest.raises(BadInputError, match="not a sha256"):
        store.read("../../etc/passwd")
    with pytest.raises(NotFoundError, match=r"no file .*nothing\.pt"):
        store.put_file(tmp_path / "nothing.pt")


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../up", "a/../../b", "a//b", "./a", "C:/x", "C:x", "a\\b", "a\0b"]
)
def test_a_name_that_escapes_is_refused(store: BlobStore, path: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot name a file"):
        check_path(path)
    with pytest.raises(BadInputError, match="cannot name a file"):
        store.put_bytes(path, b"x")
    ref = store.put_bytes("x", b"x")
    with pytest.raises(BadInputError, match="cannot name a file"):
        store.materialize((FileRef(path=path, size=1, sha256=ref.sha256),), tmp_path / "out")


def test_a_file_that_changes_while_it_is_read_is_refused_and_leaves_nothing(store: BlobStore) -> None:
    contents = iter([b"before", b"after!"])
    with pytest.raises(BadInputError, match="changed while it was read"):
        store._put("w", lambda: iter([next(contents)]))
    assert staged(store) == []
    with pytest.raises(NotFoundError):
        store.path(hashlib.sha256(b"after!").hexdigest())


def test_a_folder_below_a_file_cannot_be_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be used"):
        BlobStore(tmp_path / "file" / "blobs")


def test_a_store_that_cannot_be_written_says_so_and_leaves_nothing(store: BlobStore) -> None:
    ref = FileRef.of("w", b"weights")
    (store.folder / "sha256").mkdir()
    (store.folder / "sha256" / ref.sha256[:2]).write_bytes(b"in the way")
    with pytest.raises(StorageError, match="cannot be used") as raised:
        store.put_bytes("w", b"weights")
    assert "\n" not in raised.value.message
    assert staged(store) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_disk_that_is_full_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from wherry.core.errors import StorageError
from wherry.registry.blobs import BlobStore
store = BlobStore(Path(sys.argv[1]))
kept = store.put_bytes("small", b"small")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    store.put_bytes("large", b"x" * 5_000_000)
except StorageError as error:
    assert store.read(kept.sha256) == b"small"
    assert not list((store.folder / "staging").iterdir())
    print(error.exit_code)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "blobs")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("7\n", 0), done.stderr


def test_files_are_laid_out_under_their_names(store: BlobStore, tmp_path: Path) -> None:
    files = (store.put_bytes("EmberEye.xml", b"<net/>"), store.put_bytes("data/EmberEye.bin", b"bytes"))
    main = store.materialize(files, tmp_path / "out")
    assert main == tmp_path / "out" / "EmberEye.xml"
    assert main.read_bytes() == b"<net/>"
    assert (tmp_path / "out/data/EmberEye.bin").read_bytes() == b"bytes"
    assert main.samefile(store.path(files[0].sha256))
    assert store.materialize(files, tmp_path / "out") == main
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["EmberEye.xml", "data"]


def test_laying_out_replaces_what_lies_there(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"older")
    ref = store.put_bytes("m.onnx", b"newer")
    assert store.materialize((ref,), tmp_path).read_bytes() == b"newer"


def test_laying_out_refuses_damage_and_nothing(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no files"):
        store.materialize((), tmp_path)
    ref = store.put_bytes("m", b"good")
    path = store.path(ref.sha256)
    path.unlink()
    path.write_bytes(b"evil")
    with pytest.raises(DigestMismatchError):
        store.materialize((ref,), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_laying_out_below_a_file_is_a_storage_error(store: BlobStore, tmp_path: Path) -> None:
    ref = store.put_bytes("m", b"good")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        store.materialize((ref,), tmp_path / "file" / "out")


def test_where_a_file_system_cannot_link_files_are_copied(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    (tmp_path / "source").write_bytes(b"bytes")
    target = other / f"wherry-{os.getpid()}"
    try:
        link_or_copy(tmp_path / "source", target)
        assert target.read_bytes() == b"bytes"
        assert stat.S_IMODE(target.stat().st_mode) == 0o444
    finally:
        target.unlink(missing_ok=True)


def test_losing_the_race_for_the_same_blob_is_no_error(store: BlobStore) -> None:
    ref = store.put_bytes("w", b"weights")
    store._move("staging/gone-already", ref)
    assert store.read(ref.sha256) == b"weights"
