"""Verify: a bundle from anywhere becomes `Trusted`, or nothing changes. One code path for USB, HTTP and SSH.

In this order: the container's layout; the clock; TUF's root chain, signatures, expiry and versions; our own record of
the highest versions seen; the manifest and its companions by digest; that every member is one the manifest names.
"""

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.metadata import TargetFile

from wherry.bundle.container import BundleReader, open_bundle
from wherry.bundle.layout import (
    MANIFEST,
    MAX_MANIFEST,
    METADATA,
    TARGETS,
    member_sizes,
    parse_stored_target,
    set_fault,
    target_path,
)
from wherry.bundle.trust.highwater import (
    HighWater,
    ReleaseMark,
    check_clock,
    check_release,
    check_versions,
    parse_time,
    read_record,
    write_record,
)
from wherry.bundle.trust.refresh import CACHED, Refreshed, check_root_document, refresh
from wherry.bundle.trust.trusted import Trusted
from wherry.core.codec import from_json
from wherry.core.digest import sha256_hex
from wherry.core.errors import BundleError, DigestMismatchError, DocumentError, SignatureError, StorageError
from wherry.core.manifest import MANIFEST_SCHEMA, Manifest
from wherry.durable import atomic_write, storage_errors

_DOCUMENT = re.compile(rf"{METADATA}/(timestamp|[1-9][0-9]*\.(root|snapshot|targets))\.json")
_PIN = "Give the publisher's root.json, which must reach you by another way than the bundle: `--root-key root.json`."


def verify(bundle: Path, state: Path, *, root: bytes | None, now: datetime) -> Trusted:
    """Check everything about a bundle that can be checked without reading its blobs.

    What was seen (TUF's versions, the time) is recorded in `state`; the release counter is not, see `commit_highwater`.

    Args:
        bundle: .zip or folder.
        state: the device's folder for trust; one for each product root.
        root: root document to trust, needed the first time only. Later it may be given again, but not changed.
        now: the machine's time, with a time zone.

    Raises:
        NotFoundError: there is no bundle.
        SignatureError: not signed, not by a publisher trusted here, or changed after signing.
        ExpiredError: the signature has expired, or the clock is wrong.
        RollbackError: older than what this device has seen or installed.
        DigestMismatchError: a companion has changed.
        BundleError: truncated, damaged, hostile or incomplete.
        StorageError: the state or the bundle cannot be read, or the state cannot be written.
    """
    reader = open_bundle(bundle)
    try:
        return _verify(reader, state, root, now.astimezone(UTC))
    except BaseException:
        reader.close()
        raise


def commit_highwater(trusted: Trusted, state: Path) -> None:
    """Record that this device has decided to install the release: from now on no lower one is accepted.

    Raises:
        StorageError: nothing was verified with this state before, or it cannot be written.
    """
    record = read_record(state)
    if record is None:
        msg = f"There is no trust record in {state}."
        raise StorageError(msg, next_step="Verify the bundle again, with the publisher's root.json.")
    manifest = trusted.manifest
    check_release(record, manifest, trusted.manifest_sha256)
    mark = ReleaseMark(release=manifest.release, manifest_sha256=trusted.manifest_sha256)
    write_record(state, replace(record, releases={**record.releases, manifest.product: mark}))


def _verify(reader: BundleReader, state: Path, root: bytes | None, now: datetime) -> Trusted:
    record = read_record(state)
    anchor = _anchor(record, root, state)
    floor = parse_time(record.time_floor) if record else now
    check_clock(now, floor, "that was the time when this device last looked at a bundle")
    seeds = _seeds(state)
    seen = record.roles["timestamp"].version if record and "timestamp" in record.roles else 0
    refreshed = refresh(reader, anchor, seeds, seen=seen, now=max(now, floor))
    if record is not None:
        check_versions(record, refreshed.roles)
    manifest_bytes, target = _manifest_bytes(reader, refreshed)
    _check_signing_time(target, now)
    manifest = _decode(manifest_bytes, reader)
    sha256 = sha256_hex(manifest_bytes)
    _check_members(reader, manifest, member_sizes(manifest, sha256, len(manifest_bytes)))
    _check_companions(reader, manifest)
    if record is not None:
        check_release(record, manifest, sha256)
    _persist_record(state, record, anchor, refreshed, max(now, floor))
    for file, data in refreshed.cached.items():
        if seeds.get(file) != data:
            atomic_write(state / "tuf" / file, data)
    return Trusted(
        manifest=manifest,
        manifest_bytes=manifest_bytes,
        manifest_sha256=sha256,
        source=reader,
        expires=refreshed.expires.isoformat(),
        metadata_versions={role: mark.version for role, mark in refreshed.roles.items()},
    )


def _anchor(record: HighWater | None, root: bytes | None, state: Path) -> bytes:
    """Return the root document to start from."""
    if record is None:
        if root is None:
            msg = "This device trusts no publisher yet, so no bundle can be verified."
            raise SignatureError(msg, next_step=_PIN)
        check_root_document(root)
        return root
    current = record.root.encode()
    if root is not None and root != current and sha256_hex(root) != record.pinned_root_sha256:
        msg = "The root document that was given is not the one that this device trusts."
        raise SignatureError(msg, next_step=f"Leave it out; to trust another publisher, remove {state} first.")
    return current


def _seeds(state: Path) -> dict[str, bytes]:
    folder = state / "tuf"
    with storage_errors(folder):
        return {name: (folder / name).read_bytes() for name in CACHED if (folder / name).is_file()}


def _manifest_bytes(reader: BundleReader, refreshed: Refreshed) -> tuple[bytes, TargetFile]:
    """Return the one manifest in the bundle that the targets document vouches for."""
    stored = [name for name in reader.names() if name.startswith(f"{TARGETS}/")]
    parsed = parse_stored_target(stored[0]) if len(stored) == 1 else None
    if parsed is None:
        msg = f"{reader.path.name} is not a bundle: it must hold exactly one signed manifest."
        raise BundleError(msg)
    product, release, sha256 = parsed
    target = refreshed.targets.get(target_path(product, release))
    if target is None or target.hashes.get("sha256") != sha256:
        msg = f"{reader.path.name} holds {product} release {release}, which its signatures do not vouch for."
        raise SignatureError(msg)
    data = reader.read(stored[0], MAX_MANIFEST)
    if len(data) != target.length or sha256_hex(data) != sha256 or reader.read(MANIFEST, MAX_MANIFEST) != data:
        msg = f"The manifest of {reader.path.name} was changed after signing."
        raise DigestMismatchError(msg)
    return data, target


def _check_signing_time(target: TargetFile, now: datetime) -> None:
    signed_at = (target.custom or {}).get("signed_at")
    if isinstance(signed_at, str):
        try:
            floor = parse_time(signed_at)
        except ValueError as error:
            msg = f"The bundle's time of signing, {signed_at!r}, cannot be read."
            raise BundleError(msg) from error
        check_clock(now, floor, "that is when the bundle was signed")


def _decode(data: bytes, reader: BundleReader) -> Manifest:
    try:
        return from_json(data, Manifest, what=f"the manifest of {reader.path.name}", schema=MANIFEST_SCHEMA)
    except DocumentError as error:
        raise BundleError(error.message, next_step=error.next_step) from error


def _check_members(reader: BundleReader, manifest: Manifest, expected: dict[str, int]) -> None:
    """Refuse members that the manifest does not name, missing ones, wrong lengths, and names that no disk can hold."""
    name = reader.path.name
    sizes = reader.sizes()
    for member, size in expected.items():
        if sizes.get(member) != size:
            msg = f"{name} is not complete: {member} is missing or has another length than was signed."
            raise BundleError(msg)
    for member in sizes:
        if member not in expected and not _DOCUMENT.fullmatch(member):
            msg = f"{name} holds {member}, which nobody signed."
            raise BundleError(msg)
    for files in ([manifest.golden], *(entry.variant.files for entry in manifest.entries)):
        fault = set_fault(file.path for file in files) if files else "a variant has no files"
        if fault is not None:
            msg = f"The manifest of {name} cannot be used: {fault}."
            raise BundleError(msg)


def _check_companions(reader: BundleReader, manifest: Manifest) -> None:
    for file in manifest.companions:
        digest = hashlib.sha256()
        for piece in reader.stream(file.path):
            digest.update(piece)
        if digest.hexdigest() != file.sha256:
            msg = f"{file.path} in {reader.path.name} was changed after signing."
            raise DigestMismatchError(msg)


def _persist_record(state: Path, record: HighWater | None, anchor: bytes, refreshed: Refreshed, now: datetime) -> None:
    """Write the record first: if TUF's files are then missing or older, the record still closes the way back."""
    new = HighWater(
        pinned_root_sha256=record.pinned_root_sha256 if record else sha256_hex(anchor),
        root=refreshed.root.decode(),
        roles=refreshed.roles,
        time_floor=now.isoformat(),
        releases=record.releases if record else {},
    )
    if new != record:
        write_record(state, new)
