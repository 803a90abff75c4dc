"""Forgeries with right keys, stolen keys and wrong keys: real TUF documents that no honest publisher would sign."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tests.bundle.publishers import NOW, Publisher, altered, member_named, read_members
from tests.bundle.test_layout import ESCAPES
from tests.bundle.verifying import check, refused
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater

from wherry.bundle.layout import stored_target
from wherry.bundle.pack import Bundle
from wherry.bundle.trust.keys import key_path, load_signer, metadata_folder, read_root
from wherry.bundle.trust.sign import SignedBundle, sign
from wherry.core.codec import to_json
from wherry.core.digest import sha256_hex
from wherry.core.errors import (
    BundleError,
    ExpiredError,
    RollbackError,
    SignatureError,
)
from wherry.core.manifest import Manifest


@pytest.fixture
def signed(publisher: Publisher) -> SignedBundle:
    return publisher.signed(1)


def hostile(publisher: Publisher, destination: Path, change: Callable[[Manifest], Manifest]) -> Path:
    """Sign a manifest that `pack` would never write, with the right keys."""
    bundle = publisher.packed(publisher.made + 9)
    manifest = change(bundle.manifest)
    bad = Bundle(folder=bundle.folder, manifest=manifest, manifest_bytes=to_json(manifest))
    return sign(bad, publisher.trust, destination, now=NOW).path


@pytest.mark.parametrize("path", [*ESCAPES[1:6], "NUL", "file:stream", None])
def test_a_rightly_signed_manifest_may_still_not_escape(
    publisher: Publisher, signed: SignedBundle, state: Path, tmp_path: Path, path: str | None
) -> None:
    def change(manifest: Manifest) -> Manifest:
        entry = manifest.entries[0]
        main, *others = entry.variant.files
        files = () if path is None else (replace(main, path=path), *others)
        return replace(
            manifest, entries=(replace(entry, variant=replace(entry.variant, files=files)), *manifest.entries[1:])
        )

    made = hostile(publisher, tmp_path / "hostile.zip", change)
    refused(made, state, BundleError, "cannot be used: ", root=publisher.root)


def test_a_manifest_from_the_future(publisher: Publisher, signed: SignedBundle, state: Path, tmp_path: Path) -> None:
    made = hostile(publisher, tmp_path / "future.zip", lambda manifest: replace(manifest, schema=2))
    error = refused(made, state, BundleError, "has schema 2", root=publisher.root)
    assert "Update wherry" in error.next_step


def test_a_manifest_under_another_name(publisher: Publisher, signed: SignedBundle, state: Path, tmp_path: Path) -> None:
    """The target's path says which product and release it is; the manifest must say the same."""
    made = hostile(publisher, tmp_path / "named.zip", lambda manifest: manifest)
    data = read_members(made)["manifest.json"]
    root = read_root(publisher.trust)
    document = Metadata[Targets].from_bytes(read_members(made)["tuf/metadata/2.targets.json"])
    document.signed.targets = {
        "Harbour/1/manifest.json": TargetFile.from_data("Harbour/1/manifest.json", data, ["sha256"])
    }
    document.sign(load_signer(publisher.trust, "targets", root, None))
    stored = {member_named(made, ".manifest.json"): None, stored_target("Harbour", 1, sha256_hex(data)): data}
    bad = altered(resigned(publisher, made, document.to_bytes()), stored)
    refused(bad, state, BundleError, "missing or has another length", root=publisher.root)


def resigned(publisher: Publisher, path: Path, targets: bytes) -> Path:
    """Put another targets document into a bundle, with snapshot and timestamp to match."""
    members, root = read_members(path), read_root(publisher.trust)
    name = member_named(path, "targets.json")
    version = int(Path(name).name.partition(".")[0])
    snapshot = Metadata[Snapshot].from_bytes(members[f"tuf/metadata/{version}.snapshot.json"])
    snapshot.signed.meta["targets.json"] = MetaFile.from_data(version, targets, ["sha256"])
    snapshot.sign(load_signer(publisher.trust, "snapshot", root, None))
    stamp = Metadata[Timestamp].from_bytes(members["tuf/metadata/timestamp.json"])
    stamp.signed.snapshot_meta = MetaFile.from_data(version, snapshot.to_bytes(), ["sha256"])
    stamp.sign(load_signer(publisher.trust, "timestamp", root, None))
    changes: dict[str, bytes | None] = {
        name: targets,
        f"tuf/metadata/{version}.snapshot.json": snapshot.to_bytes(),
        "tuf/metadata/timestamp.json": stamp.to_bytes(),
    }
    return altered(path, changes)


@pytest.mark.parametrize(
    ("custom", "accepted"), [(None, True), ({"signed_at": "soon"}, False), ({"signed_at": 7}, True)]
)
def test_targets_written_by_another_tool(
    publisher: Publisher, signed: SignedBundle, state: Path, custom: dict[str, object] | None, accepted: bool
) -> None:
    document = Metadata[Targets].from_bytes(read_members(signed.path)["tuf/metadata/1.targets.json"])
    target = document.signed.targets["EmberEye/1/manifest.json"]
    target.unrecognized_fields = {} if custom is None else {"custom": custom}
    document.sign(load_signer(publisher.trust, "targets", read_root(publisher.trust), None))
    path = resigned(publisher, signed.path, document.to_bytes())
    if accepted:
        assert check(path, state, root=publisher.root).manifest == signed.manifest
    else:
        refused(path, state, BundleError, "time of signing, 'soon'", root=publisher.root)


def test_versions_that_contradict_each_other(publisher: Publisher, signed: SignedBundle, state: Path) -> None:
    members, root = read_members(signed.path), read_root(publisher.trust)
    data = members["tuf/metadata/1.snapshot.json"]
    stamp = Metadata[Timestamp].from_bytes(members["tuf/metadata/timestamp.json"])
    stamp.signed.snapshot_meta = MetaFile.from_data(2, data, ["sha256"])
    stamp.sign(load_signer(publisher.trust, "timestamp", root, None))
    changes = {"tuf/metadata/timestamp.json": stamp.to_bytes(), "tuf/metadata/2.snapshot.json": data}
    refused(altered(signed.path, changes), state, SignatureError, "do not belong together", root=publisher.root)


def test_an_expired_bundle_with_a_damaged_document(publisher: Publisher, signed: SignedBundle, state: Path) -> None:
    bad = altered(signed.path, {"tuf/metadata/1.targets.json": b"nonsense"})
    refused(bad, state, ExpiredError, "expired on 2031", root=publisher.root, now=NOW + timedelta(days=200))


def test_whatever_tufs_parser_raises_is_a_refusal(
    publisher: Publisher, signed: SignedBundle, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No input is known that gets past its own narrowing; the device shall not depend on that."""

    def stumble(updater: Updater) -> None:
        raise KeyError("meta")

    monkeypatch.setattr(Updater, "refresh", stumble)
    refused(signed.path, state, BundleError, "a signed document cannot be read", root=publisher.root)


def test_a_new_root_must_be_signed_by_the_old_one(publisher: Publisher, state: Path) -> None:
    signed = publisher.signed(1)
    root = read_root(publisher.trust)
    root.version = 2
    stranger = CryptoSigner.generate_ed25519()
    root.add_key(stranger.public_key, "root")
    document = Metadata(root)
    document.sign(stranger)
    bad = altered(signed.path, {"tuf/metadata/2.root.json": document.to_bytes()})
    refused(bad, state, SignatureError, "not signed by a publisher", root=publisher.root)
    skipped = altered(signed.path, {"tuf/metadata/3.root.json": document.to_bytes()})
    assert check(skipped, state, root=publisher.root).metadata_versions["root"] == 1, "a gap ends the chain"


def _fast_forward(publisher: Publisher, signed: SignedBundle) -> Path:
    """What somebody does who stole the timestamp and snapshot keys: the highest versions there are."""
    members = read_members(signed.path)
    root = read_root(publisher.trust)
    snapshot = Metadata[Snapshot].from_bytes(members["tuf/metadata/1.snapshot.json"])
    snapshot.signed.version = 1_000_000
    snapshot.sign(load_signer(publisher.trust, "snapshot", root, None))
    data = snapshot.to_bytes()
    stamp = Metadata[Timestamp].from_bytes(members["tuf/metadata/timestamp.json"])
    stamp.signed.version = 1_000_000
    stamp.signed.snapshot_meta = MetaFile.from_data(1_000_000, data, ["sha256"])
    stamp.sign(load_signer(publisher.trust, "timestamp", root, None))
    return altered(
        signed.path,
        {
            "tuf/metadata/1.snapshot.json": None,
            "tuf/metadata/1000000.snapshot.json": data,
            "tuf/metadata/timestamp.json": stamp.to_bytes(),
        },
    )


def test_devices_recover_from_fast_forward_when_keys_are_rotated(publisher: Publisher, state: Path) -> None:
    signed = publisher.signed(1)
    check(_fast_forward(publisher, signed), state, root=publisher.root)
    refused(publisher.signed(2).path, state, RollbackError, "timestamp version 2 after 1000000")
    root = read_root(publisher.trust)
    root.version += 1
    for role in ("timestamp", "snapshot"):
        root.revoke_key(root.roles[role].keyids[0], role)
        signer = CryptoSigner.generate_ed25519()
        root.add_key(signer.public_key, role)
        key_path(publisher.trust, role).write_bytes(signer.private_bytes)
    _publish_root(publisher, root)
    trusted = check(publisher.signed(3).path, state)
    assert trusted.metadata_versions == {"root": 2, "timestamp": 3, "snapshot": 3, "targets": 3}
    refused(signed.path, state, SignatureError, "not signed by a publisher")


def _publish_root(publisher: Publisher, root: Root) -> None:
    document = Metadata(root)
    document.sign(load_signer(publisher.trust, "root", root, None))
    (metadata_folder(publisher.trust) / f"{root.version}.root.json").write_bytes(document.to_bytes())
