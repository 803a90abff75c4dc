"""Fetching blobs: checked while written, never half there, constant memory."""

import tracemalloc
from pathlib import Path

import pytest

from tests.bundle.publishers import NOW, Publisher, altered, everything
from tests.test_durable import file_size_limit
from wherry.bundle.layout import blob_path, blobs
from wherry.bundle.trust.trusted import Trusted
from wherry.bundle.trust.verify import verify
from wherry.bundle.unpack import fetch_blobs, store_path
from wherry.core.digest import FileRef, sha256_hex
from wherry.core.errors import BundleError, DigestMismatchError, StorageError


@pytest.fixture
def trusted(publisher: Publisher, state: Path) -> Trusted:
    return verify(publisher.signed(1).path, state, root=publisher.root, now=NOW)


def test_blobs_lie_under_their_digests(trusted: Trusted, tmp_path: Path) -> None:
    store, told = tmp_path / "store", []
    wanted = blobs(trusted.manifest)
    paths = fetch_blobs(trusted, wanted, store, on_progress=lambda done, total: told.append((done, total)))
    assert paths == [store / file.sha256[:2] / file.sha256 for file in wanted]
    for path, file in zip(paths, wanted, strict=True):
        assert sha256_hex(path.read_bytes()) == file.sha256
        assert path.stat().st_mode & 0o777 == 0o444
    total = sum(file.size for file in wanted)
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(everything(store)) == len(wanted)


def test_what_is_there_is_kept_and_what_is_damaged_is_replaced(trusted: Trusted, tmp_path: Path) -> None:
    first, second, third = blobs(trusted.manifest)
    fetch_blobs(trusted, [first, second], tmp_path)
    kept, damaged = store_path(tmp_path, first.sha256), store_path(tmp_path, second.sha256)
    before = kept.stat().st_ino
    damaged.chmod(0o644)
    damaged.write_bytes(bytes(second.size))
    told: list[tuple[int, int]] = []
    fetch_blobs(trusted, [first, second, third, third], tmp_path, on_progress=lambda *numbers: told.append(numbers))
    assert kept.stat().st_ino == before
    assert sha256_hex(damaged.read_bytes()) == second.sha256
    assert told[-1] == (second.size + third.size,) * 2
    assert len(fetch_blobs(trusted, [], tmp_path / "none")) == 0
    assert not (tmp_path / "none").exists()


def test_leftovers_of_a_killed_run_are_overwritten(trusted: Trusted, tmp_path: Path) -> None:
    file = trusted.manifest.golden
    part = store_path(tmp_path, file.sha256).with_name(f"{file.sha256}.part")
    part.parent.mkdir()
    part.write_bytes(b"half" * 10_000)
    (path,) = fetch_blobs(trusted, [file], tmp_path)
    assert sha256_hex(path.read_bytes()) == file.sha256
    assert not part.exists()


def test_a_blob_with_other_bytes_is_not_kept(publisher: Publisher, state: Path, tmp_path: Path) -> None:
    signed, store = publisher.signed(1), tmp_path / "store"
    golden, model, _ = blobs(signed.manifest)
    bad = altered(signed.path, {blob_path(model.sha256): bytes(model.size)})
    with verify(bad, state, root=publisher.root, now=NOW) as trusted:
        with pytest.raises(DigestMismatchError, match=r"model\.onnx in .* is not what was signed") as caught:
            fetch_blobs(trusted, [golden, model], store)
        assert caught.value.exit_code == 6
    assert set(everything(store)) == {f"{golden.sha256[:2]}/{golden.sha256}"}


def test_only_what_the_manifest_names_is_fetched(trusted: Trusted, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not part of EmberEye v2"):
        fetch_blobs(trusted, [FileRef.of("README.txt", b"other")], tmp_path)


def test_too_little_space_is_said_before_anything_is_written(
    trusted: Trusted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1_500_000

    monkeypatch.setattr("wherry.bundle.unpack.shutil.disk_usage", lambda folder: Usage)
    with pytest.raises(StorageError, match=r"has 1\.5 MB free, and 4\.2 MB are needed") as caught:
        fetch_blobs(trusted, blobs(trusted.manifest), tmp_path / "store")
    assert "nothing was changed" in caught.value.next_step
    assert everything(tmp_path / "store") == {}


def test_a_disk_that_fills_up_in_the_middle(publisher: Publisher, state: Path, tmp_path: Path) -> None:
    signed, store = publisher.signed(1, weights=bytes(300_000)), tmp_path / "store"
    golden, model, other = blobs(signed.manifest)
    with verify(signed.path, state, root=publisher.root, now=NOW) as trusted:
        with file_size_limit(100_000), pytest.raises(StorageError, match="disk is full"):
            fetch_blobs(trusted, [golden, model, other], store)
        assert set(everything(store)) == {f"{golden.sha256[:2]}/{golden.sha256}"}
        assert len(fetch_blobs(trusted, [golden, model, other], store)) == 3, "the next run carries on"


def test_ctrl_c_leaves_no_half_blob(trusted: Trusted, tmp_path: Path) -> None:
    def press(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_blobs(trusted, blobs(trusted.manifest), tmp_path / "store", on_progress=press)
    assert everything(tmp_path / "store") == {}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_blob(publisher: Publisher, state: Path, tmp_path: Path) -> None:
    signed = publisher.signed(1, weights=bytes(48 << 20))
    tracemalloc.start()
    with verify(signed.path, state, root=publisher.root, now=NOW) as trusted:
        fetch_blobs(trusted, blobs(trusted.manifest), tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 << 20


def test_a_store_that_cannot_be_made(trusted: Trusted, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        fetch_blobs(trusted, blobs(trusted.manifest), tmp_path / "file" / "store")
