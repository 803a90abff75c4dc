"""Sign: an unsigned bundle folder becomes the one portable file, with its own TUF metadata inside.

Each signing raises the versions of targets, snapshot and timestamp together. The targets document names only the newest
release of each product, so that metadata of a new bundle cannot vouch for the contents of an old one.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from wherry.bundle.archive import Source, write_archive
from wherry.bundle.layout import MANIFEST, METADATA, blob_path, blobs, stored_target, target_path
from wherry.bundle.pack import Bundle
from wherry.bundle.trust.keys import load_signer, metadata_folder, root_paths, root_until
from wherry.core.digest import sha256_hex
from wherry.core.errors import BadInputError, RefusedError
from wherry.core.manifest import Manifest
from wherry.durable import atomic_write, locked, storage_errors, writing

_TIMESTAMP = "timestamp.json"
_Role = TypeVar("_Role", Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBundle:
    """The one file, and what it is."""

    path: Path
    sha256: str
    size: int
    manifest: Manifest
    expires: str
    """Until when a device accepts it, ISO 8601 UTC."""


def sign(
    bundle: Bundle,
    trust: Path,
    destination: Path,
    *,
    now: datetime,
    expires_days: int = 90,
    password: bytes | None = None,
) -> SignedBundle:
    """Sign `bundle` with the keys in `trust` and write it as one .zip; the same inputs and `now` give the same bytes.

    A run that is cut short leaves no half bundle, and at worst a version number that is never used.

    Args:
        bundle: what `pack` returned.
        trust: the publisher's trust folder, made by `init_keys`.
        destination: the .zip; one that is there is replaced.
        now: present time, with a time zone.
        expires_days: how long a device shall accept the bundle. The root document's own expiry is the limit; it is
            renewed when it would come first and the root key is there.
        password: of the private keys, if they have one.

    Raises:
        NotFoundError: keys or files are missing.
        BadInputError: a key cannot be opened, or the trust folder is damaged.
        ExpiredError: the root document has expired and its key was moved away.
        BusyError: another process is signing with these keys.
        RefusedError: this release, or a later one, was signed before with other contents.
        DigestMismatchError: the folder has changed since it was packed.
        StorageError: the disk is full or not writable.
    """
    now = now.astimezone(UTC).replace(microsecond=0)
    if expires_days < 1:
        msg = f"A bundle cannot expire after {expires_days} days."
        raise BadInputError(msg, next_step="Give a number of days from 1.")
    root_paths(trust)  # before the lock, which would make the folder
    expires = now + timedelta(days=expires_days)
    with locked(trust / "lock"):
        previous = _previous_targets(trust)
        _check_release(previous, bundle)
        root = root_until(trust, expires, now=now, password=password)
        documents = _documents(bundle, previous, now=now, expires=expires, signers=_Signers(trust, root, password))
        with writing(destination) as file:
            sha256, size = write_archive(file, _members(bundle, trust, documents))
            for name, data in documents.items():  # the timestamp comes last and makes the others count
                atomic_write(metadata_folder(trust) / name, data)
    return SignedBundle(
        path=destination,
        sha256=sha256,
        size=size,
        manifest=bundle.manifest,
        expires=min(expires, root.expires).isoformat(),
    )


@dataclass(frozen=True, slots=True)
class _Signers:
    trust: Path
    root: Root
    password: bytes | None

    def to_bytes(self, signed: _Role) -> bytes:
        document = Metadata(signed)
        document.sign(load_signer(self.trust, signed.type, self.root, self.password))
        return document.to_bytes()


def _documents(
    bundle: Bundle, previous: Targets | None, *, now: datetime, expires: datetime, signers: _Signers
) -> dict[str, bytes]:
    """Return the names and bytes of targets, snapshot and timestamp, in the order in which they may be written."""
    version = previous.version + 1 if previous else 1
    manifest = bundle.manifest
    name = target_path(manifest.product, manifest.release)
    target = TargetFile.from_data(name, bundle.manifest_bytes, ["sha256"])
    facts = {"signed_at": now.isoformat(), "model": manifest.model, "version": manifest.version}
    target.unrecognized_fields["custom"] = facts
    others = {
        path: file
        for path, file in (previous.targets if previous else {}).items()
        if _product(path) != manifest.product
    }
    targets = signers.to_bytes(Targets(version=version, expires=expires, targets={**others, name: target}))
    meta = {"targets.json": MetaFile.from_data(version, targets, ["sha256"])}
    snapshot = signers.to_bytes(Snapshot(version=version, expires=expires, meta=meta))
    stamp = Timestamp(version=version, expires=expires, snapshot_meta=MetaFile.from_data(version, snapshot, ["sha256"]))
    return {
        f"{version}.targets.json": targets,
        f"{version}.snapshot.json": snapshot,
        _TIMESTAMP: signers.to_bytes(stamp),
    }


def _members(bundle: Bundle, trust: Path, documents: dict[str, bytes]) -> dict[str, Source]:
    manifest, data = bundle.manifest, bundle.manifest_bytes
    members = {f"{METADATA}/{path.name}": Source(file=path) for path in root_paths(trust)}
    members |= {f"{METADATA}/{name}": Source(data=content) for name, content in documents.items()}
    members[MANIFEST] = Source(data=data)
    members[stored_target(manifest.product, manifest.release, sha256_hex(data))] = Source(data=data)
    for file in manifest.companions:
        members[file.path] = Source(file=bundle.folder / file.path, promised=file)
    for file in blobs(manifest):
        members[blob_path(file.sha256)] = Source(file=bundle.folder / blob_path(file.sha256), promised=file)
    return members


def _previous_targets(trust: Path) -> Targets | None:
    """Return what was signed last, or None: the timestamp says which version counts."""
    folder = metadata_folder(trust)
    if not (folder / _TIMESTAMP).exists():
        return None
    try:
        with storage_errors(folder):
            stamp = Metadata[Timestamp].from_bytes((folder / _TIMESTAMP).read_bytes()).signed
            return Metadata[Targets].from_bytes((folder / f"{stamp.version}.targets.json").read_bytes()).signed
    except (RepositoryError, ValueError) as error:
        msg = f"The record of what was signed, in {folder}, is damaged."
        raise BadInputError(msg, next_step="Restore the trust folder from its backup.") from error


def _check_release(previous: Targets | None, bundle: Bundle) -> None:
    manifest = bundle.manifest
    for path, target in (previous.targets if previous else {}).items():
        product, release, _ = path.split("/")
        same = target.hashes.get("sha256") == sha256_hex(bundle.manifest_bytes)
        if (
            product != manifest.product
            or int(release) < manifest.release
            or (int(release) == manifest.release and same)
        ):
            continue
        what = f"release {manifest.release} cannot be signed with other contents"
        msg = f"{product} release {release} was signed already, so {what}."
        raise RefusedError(msg, next_step=f"Publish it as release {int(release) + 1} or higher.")


def _product(path: str) -> str:
    return path.partition("/")[0]
