"""Signing: the same in, the same out; versions and releases only ever rise; nothing half-written."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Targets

from tests.bundle.publishers import NOW, Publisher, everything, read_members
from tests.test_durable import file_size_limit
from wherry.bundle.layout import blob_path, blobs
from wherry.bundle.trust.keys import init_keys, key_path
from wherry.bundle.trust.sign import sign
from wherry.core.digest import sha256_hex
from wherry.core.errors import BadInputError, BusyError, DigestMismatchError, NotFoundError, RefusedError, StorageError
from wherry.durable import locked


def test_the_one_file_holds_what_was_packed_and_its_signatures(publisher: Publisher) -> None:
    signed = publisher.signed(3)
    members = read_members(signed.path)
    packed = everything(publisher.folder / "bundle1")
    assert {name: data for name, data in members.items() if not name.startswith("tuf/")} == packed
    digest = sha256_hex(packed["manifest.json"])
    assert {name for name in members if name.startswith("tuf/")} == {
        "tuf/metadata/1.root.json",
        "tuf/metadata/1.snapshot.json",
        "tuf/metadata/1.targets.json",
        "tuf/metadata/timestamp.json",
        f"tuf/targets/EmberEye/3/{digest}.manifest.json",
    }
    data = signed.path.read_bytes()
    assert (signed.size, signed.sha256) == (len(data), sha256_hex(data))
    assert signed.expires == (NOW + timedelta(days=90)).isoformat()
    assert list(members) == sorted(members)


def test_the_same_state_and_time_give_the_same_bytes(publisher: Publisher, tmp_path: Path) -> None:
    publisher.signed(1)
    shutil.copytree(publisher.trust, tmp_path / "copy")
    bundle = publisher.packed(2)
    one = sign(bundle, publisher.trust, tmp_path / "one.zip", now=NOW)
    two = sign(bundle, tmp_path / "copy", tmp_path / "two.zip", now=NOW.astimezone())
    assert one.sha256 == two.sha256
    assert everything(publisher.trust) == everything(tmp_path / "copy")


def test_versions_rise_and_only_the_newest_release_is_vouched_for(publisher: Publisher) -> None:
    publisher.signed(1)
    other = Publisher(publisher.folder, product="Harbour", made=50)
    other.signed(7)
    members = read_members(publisher.signed(2).path)
    targets = Metadata[Targets].from_bytes(members["tuf/metadata/3.targets.json"]).signed
    assert targets.version == 3
    assert set(targets.targets) == {"EmberEye/2/manifest.json", "Harbour/7/manifest.json"}


def test_a_release_is_never_signed_twice_with_other_contents(publisher: Publisher, tmp_path: Path) -> None:
    publisher.signed(5)
    bundle = publisher.packed(5, weights=b"other")
    before = everything(publisher.trust)
    for attempt in (bundle, publisher.packed(4)):
        with pytest.raises(RefusedError, match="release 5 was signed already") as caught:
            sign(attempt, publisher.trust, tmp_path / "out.zip", now=NOW)
        assert caught.value.exit_code == 3
        assert "release 6 or higher" in caught.value.next_step
    assert everything(publisher.trust) == before
    assert not (tmp_path / "out.zip").exists()


def test_the_same_release_can_be_signed_again_when_it_expires(publisher: Publisher, tmp_path: Path) -> None:
    init_keys(publisher.trust, now=NOW)
    bundle = publisher.packed(5)
    first = sign(bundle, publisher.trust, tmp_path / "out.zip", now=NOW)
    second = sign(bundle, publisher.trust, tmp_path / "out.zip", now=NOW + timedelta(days=80))
    assert second.expires > first.expires
    assert "tuf/metadata/2.targets.json" in read_members(second.path)


def test_a_bundle_never_outlives_the_root_document(publisher: Publisher) -> None:
    publisher.signed(1)
    key_path(publisher.trust, "root").unlink()
    late = publisher.signed(2, now=NOW + timedelta(days=300))
    assert late.expires == (NOW + timedelta(days=365)).isoformat()


def test_missing_keys_and_bad_terms(publisher: Publisher, tmp_path: Path) -> None:
    bundle = publisher.packed()
    with pytest.raises(NotFoundError, match="There are no keys"):
        sign(bundle, tmp_path / "absent", tmp_path / "out.zip", now=NOW)
    assert not (tmp_path / "absent").exists()
    init_keys(publisher.trust, now=NOW, password=b"harbour")
    with pytest.raises(BadInputError, match="0 days"):
        sign(bundle, publisher.trust, tmp_path / "out.zip", now=NOW, expires_days=0)
    with pytest.raises(BadInputError, match="password"):
        sign(bundle, publisher.trust, tmp_path / "out.zip", now=NOW)
    assert sign(bundle, publisher.trust, tmp_path / "out.zip", now=NOW, password=b"harbour").size


def test_a_damaged_record_of_what_was_signed(publisher: Publisher, tmp_path: Path) -> None:
    publisher.signed(1)
    bundle = publisher.packed(2)
    (publisher.trust / "metadata" / "timestamp.json").write_bytes(b"{")
    with pytest.raises(BadInputError, match="record of what was signed"):
        sign(bundle, publisher.trust, tmp_path / "out.zip", now=NOW)


def test_a_folder_that_changed_since_it_was_packed(publisher: Publisher, tmp_path: Path) -> None:
    publisher.signed(1)
    before = everything(publisher.trust)
    for name in ("README.txt", blob_path(blobs(publisher.packed(2).manifest)[1].sha256)):
        bundle = publisher.packed(2)
        path = bundle.folder / name
        path.chmod(0o644)
        path.write_bytes(b"?" + path.read_bytes()[1:])
        with pytest.raises(DigestMismatchError):
            sign(bundle, publisher.trust, tmp_path / "out.zip", now=NOW)
        path.unlink()
        with pytest.raises(StorageError):
            sign(bundle, publisher.trust, tmp_path / "out.zip", now=NOW)
    assert list(tmp_path.glob("*out*")) == []
    assert everything(publisher.trust) == before


def test_a_full_disk_leaves_no_half_bundle_and_uses_no_version(publisher: Publisher, tmp_path: Path) -> None:
    publisher.signed(1)
    before = everything(publisher.trust)
    bundle = publisher.packed(2, weights=bytes(200_000))
    with file_size_limit(100_000), pytest.raises(StorageError, match="disk is full"):
        sign(bundle, publisher.trust, tmp_path / "out.zip", now=NOW)
    assert list(tmp_path.glob("*out*")) == []
    assert everything(publisher.trust) == before
    assert "tuf/metadata/2.targets.json" in read_members(
        sign(bundle, publisher.trust, tmp_path / "out.zip", now=NOW).path
    )


def test_two_signings_at_once(publisher: Publisher, tmp_path: Path) -> None:
    publisher.signed(1)
    bundle = publisher.packed(2)
    with locked(publisher.trust / "lock"), pytest.raises(BusyError):
        sign(bundle, publisher.trust, tmp_path / "out.zip", now=NOW)


def test_what_is_signed_are_the_manifests_bytes(publisher: Publisher, tmp_path: Path) -> None:
    publisher.signed(1)
    bundle = publisher.packed(2)
    (bundle.folder / "manifest.json").write_bytes(b"{}")
    signed = sign(replace(bundle), publisher.trust, tmp_path / "out.zip", now=NOW)
    assert read_members(signed.path)["manifest.json"] == bundle.manifest_bytes
