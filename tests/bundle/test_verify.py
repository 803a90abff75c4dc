"""Verification against real TUF metadata: what is accepted, what is refused, and what a device remembers."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.bundle.publishers import NOW, Publisher, altered, everything, member_named, read_members
from tests.bundle.verifying import check, refused

from wherry.bundle.layout import blob_path, stored_target
from wherry.bundle.trust.highwater import read_record
from wherry.bundle.trust.keys import init_keys, key_path, renew_root
from wherry.bundle.trust.sign import SignedBundle, sign
from wherry.bundle.trust.verify import commit_highwater, verify
from wherry.core.codec import to_json
from wherry.core.digest import sha256_hex
from wherry.core.errors import (
    BundleError,
    DigestMismatchError,
    ExpiredError,
    NotFoundError,
    RollbackError,
    SignatureError,
    StorageError,
    TrustError,
)


@pytest.fixture
def signed(publisher: Publisher) -> SignedBundle:
    return publisher.signed(1)


def test_a_signed_bundle_is_trusted(publisher: Publisher, signed: SignedBundle, state: Path) -> None:
    with verify(signed.path, state, root=publisher.root, now=NOW) as trusted:
        assert trusted.manifest == signed.manifest
        assert trusted.manifest_sha256 == sha256_hex(trusted.manifest_bytes)
        assert trusted.expires == signed.expires
        assert trusted.metadata_versions == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}
        assert trusted.source.read("README.txt", 10_000).startswith(b"EmberEye v2 (release 1)")
    assert check(signed.path, state).manifest == signed.manifest, "later, no root document is needed"
    assert check(signed.path, state, root=publisher.root).manifest == signed.manifest


def test_an_unpacked_folder_is_the_same(
    publisher: Publisher, signed: SignedBundle, state: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(signed.path) as archive:
        archive.extractall(tmp_path / "folder")
    trusted = check(tmp_path / "folder", state, root=publisher.root)
    assert trusted.manifest_sha256 == check(signed.path, state).manifest_sha256


def test_verifying_writes_nothing_new_the_second_time(publisher: Publisher, signed: SignedBundle, state: Path) -> None:
    check(signed.path, state, root=publisher.root)
    before = everything(state)
    check(signed.path, state)
    assert everything(state) == before
    assert set(before) == {"highwater.json", "tuf/timestamp.json", "tuf/snapshot.json", "tuf/targets.json"}


def test_a_new_device_must_be_told_whom_to_trust(signed: SignedBundle, state: Path) -> None:
    error = refused(signed.path, state, SignatureError, "trusts no publisher yet")
    assert "--root-key root.json" in error.next_step


def test_an_unknown_publisher(
    signed: SignedBundle, state: Path, make_publisher: Callable[..., Publisher], publisher: Publisher
) -> None:
    other = make_publisher("other")
    theirs = other.signed(1)
    refused(signed.path, state, SignatureError, "not signed by a publisher whom this device trusts", root=other.root)
    check(theirs.path, state, root=other.root)
    refused(signed.path, state, SignatureError, "not signed by a publisher")
    error = refused(signed.path, state, SignatureError, "not the one that this device trusts", root=publisher.root)
    assert str(state) in error.next_step


@pytest.mark.parametrize(
    "root", [b"", b"{}", b"not json", b"[" * 5000, b'{"signed": {"_type": "root"}, "signatures": []}']
)
def test_what_is_pinned_must_be_a_root_document(signed: SignedBundle, state: Path, root: bytes) -> None:
    refused(signed.path, state, SignatureError, "root document that was given cannot be read", root=root)


def test_a_root_document_that_did_not_sign_itself(publisher: Publisher, signed: SignedBundle, state: Path) -> None:
    document = json.loads(publisher.root)
    document["signed"]["expires"] = "2099-01-01T00:00:00Z"
    refused(signed.path, state, SignatureError, "own keys", root=json.dumps(document).encode())


def test_an_expired_bundle_says_when(publisher: Publisher, signed: SignedBundle, state: Path) -> None:
    for root in (publisher.root, publisher.root):
        error = refused(
            signed.path,
            state,
            ExpiredError,
            "signature of EmberEye_r1_1.zip expired on 2031-08-15",
            root=root,
            now=NOW + timedelta(days=90),
        )
        assert "sign the bundle again" in error.next_step
    check(signed.path, state, root=publisher.root, now=NOW + timedelta(days=89))
    refused(signed.path, state, ExpiredError, "2031-08-15", now=NOW + timedelta(days=91))


def test_an_expired_root_document_says_when(publisher: Publisher, state: Path) -> None:
    signed = publisher.signed(1, expires_days=300)
    key_path(publisher.trust, "root").unlink()
    late = publisher.signed(2, now=NOW + timedelta(days=200), expires_days=300)
    refused(
        late.path,
        state,
        ExpiredError,
        "root document expired on 2032-05-16",
        root=publisher.root,
        now=NOW + timedelta(370),
    )
    assert check(signed.path, state, root=publisher.root).manifest.release == 1


def test_a_clock_that_went_back_is_said_in_plain_words(publisher: Publisher, state: Path) -> None:
    signed = publisher.signed(1)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    early = refused(signed.path, state, ExpiredError, "clock says 1970-01-01", root=publisher.root, now=epoch)
    assert "Set the clock" in early.next_step
    check(signed.path, state, root=publisher.root, now=NOW + timedelta(days=30))
    refused(signed.path, state, ExpiredError, "last looked at a bundle", now=NOW + timedelta(days=28))
    check(signed.path, state, now=NOW + timedelta(days=29, hours=1))
    record = read_record(state)
    assert record is not None
    assert record.time_floor == (NOW + timedelta(days=30)).isoformat(), "the floor never sinks"


def test_an_unsigned_bundle(publisher: Publisher, signed: SignedBundle, state: Path) -> None:
    stripped = {name: None for name in read_members(signed.path) if name.startswith("tuf/")}
    refused(altered(signed.path, stripped), state, SignatureError, "is not signed", root=publisher.root)
    refused(publisher.packed(2).folder, state, SignatureError, "is not signed", root=publisher.root)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_signatures_taken_out(publisher: Publisher, signed: SignedBundle, state: Path, role: str) -> None:
    name = member_named(signed.path, f"{role}.json")
    document = json.loads(read_members(signed.path)[name])
    document["signatures"] = []
    bad = altered(signed.path, {name: json.dumps(document).encode()})
    refused(bad, state, SignatureError, "not signed by a publisher|changed after", root=publisher.root)


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_documents_left_out(publisher: Publisher, signed: SignedBundle, state: Path, role: str) -> None:
    bad = altered(signed.path, {member_named(signed.path, f"{role}.json"): None})
    refused(bad, state, SignatureError, "a signed document is missing", root=publisher.root)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", b"[" * 3000, b"null", b'{"signed": {}, "signatures": {}}', b" " * 20_000]
)
def test_documents_that_are_none(publisher: Publisher, signed: SignedBundle, state: Path, data: bytes) -> None:
    bad = altered(signed.path, {"tuf/metadata/timestamp.json": data})
    with pytest.raises(TrustError):
        verify(bad, state, root=publisher.root, now=NOW)
    assert everything(state) == {}


def test_a_changed_manifest(publisher: Publisher, signed: SignedBundle, state: Path) -> None:
    data = read_members(signed.path)["manifest.json"]
    changed = data.replace(b"fire-detector", b"fire-defector")
    stored = stored_target("EmberEye", 1, sha256_hex(data))
    for changes in ({"manifest.json": changed}, {stored: changed}, {"manifest.json": changed, stored: changed}):
        refused(
            altered(signed.path, changes), state, DigestMismatchError, "was changed after signing", root=publisher.root
        )
    forged = {"manifest.json": changed, stored: None, stored_target("EmberEye", 1, sha256_hex(changed)): changed}
    refused(altered(signed.path, forged), state, SignatureError, "do not vouch for", root=publisher.root)


def test_manifests_swapped_between_two_good_bundles(publisher: Publisher, state: Path) -> None:
    """Mix and match: everything is signed by the right publisher, but not together."""
    old, new = publisher.signed(1), publisher.signed(2)
    before, after = read_members(old.path), read_members(new.path)
    metadata = {name: data for name, data in after.items() if name.startswith("tuf/metadata/")}
    gone = dict.fromkeys(name for name in before if name.startswith("tuf/metadata/"))
    refused(altered(old.path, {**gone, **metadata}), state, SignatureError, "do not vouch for", root=publisher.root)
    mixed = {"tuf/metadata/timestamp.json": before["tuf/metadata/timestamp.json"]}
    refused(altered(new.path, mixed), state, SignatureError, "missing", root=publisher.root)
    snapshot = {"tuf/metadata/2.snapshot.json": before["tuf/metadata/1.snapshot.json"]}
    refused(altered(new.path, snapshot), state, SignatureError, "changed after signing", root=publisher.root)


def test_missing_foreign_and_resized_members(publisher: Publisher, signed: SignedBundle, state: Path) -> None:
    blob = blob_path(signed.manifest.golden.sha256)
    for changes, clause in (
        ({blob: None}, "is missing or has another length"),
        ({blob: b"short"}, "is missing or has another length"),
        ({"README.txt": None}, "is missing or has another length"),
        ({"extra.sh": b"rm -rf"}, "which nobody signed"),
        ({"tuf/metadata/evil.json": b"{}"}, "which nobody signed"),
        ({blob_path("0" * 64): b"x"}, "which nobody signed"),
        ({stored_target("Other", 1, "0" * 64): b"x"}, "exactly one signed manifest"),
        ({"tuf/targets/odd": b"x"}, "exactly one signed manifest"),
    ):
        refused(altered(signed.path, changes), state, BundleError, clause, root=publisher.root)
    readme = read_members(signed.path)["README.txt"].replace(b"wherry", b"evilry")
    bad = altered(signed.path, {"README.txt": readme})
    refused(bad, state, DigestMismatchError, r"README\.txt in .* was changed", root=publisher.root)


def test_an_older_release_is_refused_once_a_newer_one_was_installed(publisher: Publisher, state: Path) -> None:
    old, new = publisher.signed(1), publisher.signed(2)
    check(old.path, state, root=publisher.root)
    commit_highwater(check(new.path, state), state)
    error = refused(old.path, state, RollbackError, "older than what this device has seen")
    assert "publish the old version as a new release" in error.next_step
    assert check(new.path, state).manifest.release == 2, "the same release again is no rollback"


def test_the_release_counter_stands_on_its_own(publisher: Publisher, state: Path, tmp_path: Path) -> None:
    """A publisher who lost his record and signs a lower release under higher TUF versions."""
    installed, lower = publisher.packed(2), publisher.packed(1)
    other = publisher.packed(2, weights=b"other")
    init_keys(publisher.trust, now=NOW)
    for number, late in enumerate((lower, other)):
        forgetful = Publisher(tmp_path / f"forgetful{number}", product="Harbour")
        shutil.copytree(publisher.trust, forgetful.trust)
        for release in (1, 2):
            forgetful.signed(release)
        made = sign(late, forgetful.trust, tmp_path / f"late{number}.zip", now=NOW)
        assert "tuf/metadata/3.targets.json" in read_members(made.path)
    first = sign(installed, publisher.trust, tmp_path / "installed.zip", now=NOW)
    commit_highwater(check(first.path, state, root=publisher.root), state)
    refused(tmp_path / "late0.zip", state, RollbackError, "holds EmberEye release 1, and this device has had release 2")
    refused(tmp_path / "late1.zip", state, RollbackError, "release 2 is .*, and this device has had it as")


def test_verifying_alone_does_not_raise_the_release_counter(
    publisher: Publisher, signed: SignedBundle, state: Path
) -> None:
    trusted = check(signed.path, state, root=publisher.root)
    record = read_record(state)
    assert record is not None
    assert record.releases == {}
    commit_highwater(trusted, state)
    commit_highwater(trusted, state)
    record = read_record(state)
    assert record is not None
    assert record.releases["EmberEye"].release == 1
    assert record.releases["EmberEye"].manifest_sha256 == trusted.manifest_sha256


def test_committing_never_lowers_and_needs_a_record(publisher: Publisher, state: Path, tmp_path: Path) -> None:
    old = check(publisher.signed(1).path, state, root=publisher.root)
    new = check(publisher.signed(2).path, state)
    commit_highwater(new, state)
    with pytest.raises(RollbackError):
        commit_highwater(old, state)
    with pytest.raises(StorageError, match="no trust record"):
        commit_highwater(new, tmp_path / "elsewhere")


@pytest.mark.parametrize("lost", ["timestamp.json", "snapshot.json", "targets.json", None])
@pytest.mark.parametrize("damage", [None, b"", b"{"])
def test_losing_tufs_files_opens_no_way_back(
    publisher: Publisher, state: Path, lost: str | None, damage: bytes | None
) -> None:
    old, new = publisher.signed(1), publisher.signed(2)
    check(new.path, state, root=publisher.root)
    for path in (state / "tuf").glob(lost or "*"):
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
    refused(old.path, state, RollbackError, "older than what this device has seen")
    assert check(new.path, state).manifest.release == 2
    assert set(everything(state / "tuf")) == {"timestamp.json", "snapshot.json", "targets.json"}


def test_losing_our_own_record_asks_for_the_root_and_keeps_tufs_versions(publisher: Publisher, state: Path) -> None:
    old, new = publisher.signed(1), publisher.signed(2)
    check(new.path, state, root=publisher.root)
    (state / "highwater.json").unlink()
    refused(new.path, state, SignatureError, "trusts no publisher yet")
    refused(old.path, state, RollbackError, "timestamp version 1 after 2", root=publisher.root)
    assert check(new.path, state, root=publisher.root).manifest.release == 2


@pytest.mark.parametrize("data", [b"", b"{}", b"\x00" * 300, b'{"schema": 9}'])
def test_a_damaged_record_is_not_ignored(publisher: Publisher, signed: SignedBundle, state: Path, data: bytes) -> None:
    check(signed.path, state, root=publisher.root)
    (state / "highwater.json").write_bytes(data)
    with pytest.raises(StorageError, match=r"highwater\.json is damaged") as caught:
        verify(signed.path, state, root=publisher.root, now=NOW)
    assert caught.value.exit_code == 7


def test_a_record_with_an_impossible_time(publisher: Publisher, signed: SignedBundle, state: Path) -> None:
    check(signed.path, state, root=publisher.root)
    record = read_record(state)
    assert record is not None
    (state / "highwater.json").write_bytes(to_json(replace(record, time_floor="soon")))
    with pytest.raises(StorageError, match="damaged"):
        verify(signed.path, state, root=None, now=NOW)


def test_a_state_that_cannot_be_written(publisher: Publisher, signed: SignedBundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        verify(signed.path, tmp_path / "file" / "state", root=publisher.root, now=NOW)


def test_a_device_follows_a_renewed_root(publisher: Publisher, state: Path) -> None:
    pinned = publisher.signed(1)
    first = publisher.root
    check(pinned.path, state, root=first)
    renew_root(publisher.trust, now=NOW)
    trusted = check(publisher.signed(2).path, state, root=first)
    assert trusted.metadata_versions["root"] == 2
    assert check(publisher.signed(3).path, state, root=publisher.root).metadata_versions["root"] == 2


def test_nothing_there(state: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        verify(tmp_path / "absent.zip", state, root=None, now=NOW)


def test_trusted_is_made_in_one_place_only() -> None:
    source = Path(__file__).parents[2] / "src" / "wherry"
    makers = [path.name for path in source.rglob("*.py") if " Trusted(" in path.read_text(encoding="utf-8")]
    assert makers == ["verify.py"]


def test_a_bundle_of_two_products_from_one_publisher(
    publisher: Publisher, signed: SignedBundle, state: Path, tmp_path: Path
) -> None:
    other = Publisher(publisher.folder, product="Harbour", made=50)
    second = other.signed(1)
    check(signed.path, state, root=publisher.root)
    commit_highwater(check(second.path, state), state)
    third = publisher.signed(2)
    commit_highwater(check(third.path, state), state)
    record = read_record(state)
    assert record is not None
    assert {name: mark.release for name, mark in record.releases.items()} == {"Harbour": 1, "EmberEye": 2}
