"""Release folders: whole or not there, and any later damage is found."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bundle.publishers import NOW, Publisher, everything
from tests.test_durable import file_size_limit
from wherry.bundle import release as release_room
from wherry.bundle.layout import blobs
from wherry.bundle.release import Release, open_release, write_release
from wherry.bundle.trust.trusted import Trusted
from wherry.bundle.trust.verify import verify
from wherry.bundle.unpack import fetch_blobs, store_path
from wherry.core.errors import BundleError, DigestMismatchError, NotFoundError, StorageError


@pytest.fixture
def trusted(publisher: Publisher, state: Path, tmp_path: Path) -> Trusted:
    trusted = verify(publisher.signed(1).path, state, root=publisher.root, now=NOW)
    fetch_blobs(trusted, blobs(trusted.manifest), tmp_path / "store")
    trusted.close()
    return trusted


def install(trusted: Trusted, tmp_path: Path, target: str = "null-fp32") -> Release:
    data, folder = trusted.manifest_bytes, tmp_path / "releases" / "r1"
    return write_release(data, trusted.manifest, target, tmp_path / "store", folder, device="cpu")


def test_a_release_holds_one_variant_under_its_own_names(trusted: Trusted, tmp_path: Path) -> None:
    release = install(trusted, tmp_path)
    files = everything(release.folder)
    assert set(files) == {"manifest.json", "golden.npz", "release.json", "READY", "model.null", "parts/extra.bin"}
    assert files["manifest.json"] == trusted.manifest_bytes
    assert release.main.read_bytes() == files["model.null"]
    assert release.golden.read_bytes() == b"golden" * 20
    assert (release.device, release.entry.variant.name) == ("cpu", "null-fp32")
    assert release.manifest == trusted.manifest
    assert release.manifest_sha256 == trusted.manifest_sha256
    assert open_release(release.folder, verify_bytes=True) == release
    assert list((tmp_path / "releases").iterdir()) == [release.folder]


def test_files_share_their_bytes_with_the_store(trusted: Trusted, tmp_path: Path) -> None:
    release = install(trusted, tmp_path)
    blob = store_path(tmp_path / "store", release.entry.variant.files[0].sha256)
    assert release.main.samefile(blob)


def test_disks_without_links_get_copies(trusted: Trusted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, destination: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    release = install(trusted, tmp_path)
    assert open_release(release.folder, verify_bytes=True) == release
    assert release.main.stat().st_nlink == 1


def test_the_same_release_again_is_left_alone_and_a_damaged_one_is_replaced(trusted: Trusted, tmp_path: Path) -> None:
    release = install(trusted, tmp_path)
    before = (release.folder / "READY").stat().st_ino
    assert install(trusted, tmp_path) == release
    assert (release.folder / "READY").stat().st_ino == before
    (release.folder / "READY").unlink()
    assert install(trusted, tmp_path) == release
    assert install(trusted, tmp_path, "onnx-fp32").entry.variant.name == "onnx-fp32"


def test_leftovers_of_a_killed_run_are_swept(trusted: Trusted, tmp_path: Path) -> None:
    part = tmp_path / "releases" / ".r1.part"
    part.mkdir(parents=True)
    (part / "junk").write_bytes(b"half")
    release = install(trusted, tmp_path)
    assert not part.exists()
    assert "junk" not in everything(release.folder)


def test_ready_is_written_last(trusted: Trusted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = release_room.atomic_write

    def record(path: Path, data: bytes) -> None:
        written.append(path.name)
        if path.name == "READY":
            present = set(everything(path.parent))
            assert present == {"manifest.json", "golden.npz", "release.json", "model.null", "parts/extra.bin"}
        real(path, data)

    monkeypatch.setattr(release_room, "atomic_write", record)
    install(trusted, tmp_path)
    assert written[-1] == "READY"


def test_an_unknown_target_and_missing_blobs(trusted: Trusted, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no variant tflite-fp32") as caught:
        install(trusted, tmp_path, "tflite-fp32")
    assert "onnx-fp32, null-fp32" in caught.value.next_step
    store_path(tmp_path / "store", trusted.manifest.golden.sha256).unlink()
    with pytest.raises(BundleError, match=r"golden\.npz is not in the content store"):
        install(trusted, tmp_path)
    assert everything(tmp_path / "releases") == {}


def test_a_variant_may_not_use_our_names_nor_escape(trusted: Trusted, tmp_path: Path) -> None:
    entry = trusted.manifest.entries[1]
    for path in ("ready", "Manifest.json", "golden.npz", "../up", "release.json/x"):
        files = (replace(entry.variant.files[0], path=path),)
        bad = replace(trusted.manifest, entries=(replace(entry, variant=replace(entry.variant, files=files)),))
        with pytest.raises(BundleError, match="cannot be unpacked"):
            write_release(b"", bad, "null-fp32", tmp_path / "store", tmp_path / "r", device="cpu")
    assert not (tmp_path / "r").exists()


def test_a_full_disk_leaves_nothing(trusted: Trusted, tmp_path: Path) -> None:
    with file_size_limit(1000), pytest.raises(StorageError, match="disk is full"):
        install(trusted, tmp_path)
    assert everything(tmp_path / "releases") == {}


@pytest.mark.parametrize(
    "name", ["READY", "release.json", "manifest.json", "golden.npz", "model.null", "parts/extra.bin"]
)
def test_every_damage_is_found(trusted: Trusted, tmp_path: Path, name: str) -> None:
    path = install(trusted, tmp_path).folder / name
    good = path.read_bytes()
    path.unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        open_release(path.parents[name.count("/")], verify_bytes=True)
    for position in (0, len(good) // 2, len(good) - 1):
        flipped = bytearray(good)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        if bytes(flipped).strip() != good.strip():
            with pytest.raises(DigestMismatchError, match="has changed since it was installed"):
                open_release(tmp_path / "releases" / "r1", verify_bytes=True)
    path.write_bytes(good + b"more")
    with pytest.raises(DigestMismatchError):
        open_release(tmp_path / "releases" / "r1")


def test_a_record_that_contradicts_the_manifest(trusted: Trusted, tmp_path: Path) -> None:
    from wherry.core.codec import to_json
    from wherry.core.digest import sha256_hex

    folder = install(trusted, tmp_path).folder
    record = release_room.ReleaseRecord(manifest_sha256=trusted.manifest_sha256, target="tflite-fp32", device="cpu")
    for data, clause in ((to_json(record), "which its manifest does not have"), (b"{}", "schema None")):
        (folder / "release.json").write_bytes(data)
        (folder / "READY").write_text(sha256_hex(data), encoding="ascii")
        with pytest.raises(BundleError, match=clause):
            open_release(folder)


def test_no_release(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no release at"):
        open_release(tmp_path / "absent")
