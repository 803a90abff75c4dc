"""Release: one variant of a trusted bundle unpacked into a folder of its own, read by the agent and by serving alike.

`READY` is written and synced last and holds the digest of `release.json`, so a folder with a fitting `READY` is whole.
Files are hard links into the content store where the disk can, copies elsewhere.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from wherry.bundle.layout import MANIFEST, set_fault
from wherry.bundle.unpack import is_intact, store_path
from wherry.core.codec import from_json, to_json
from wherry.core.device import DeviceType
from wherry.core.digest import FileRef, sha256_hex
from wherry.core.errors import BundleError, DigestMismatchError, DocumentError, NotFoundError
from wherry.core.manifest import MANIFEST_SCHEMA, Manifest, ManifestEntry
from wherry.durable import CHUNK, atomic_write, fsync_dir, storage_errors, writing

RECORD = "release.json"
READY = "READY"
GOLDEN = "golden.npz"
SCHEMA = 1
_T = TypeVar("_T")
_OURS = (MANIFEST, RECORD, READY, GOLDEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRecord:
    """`release.json`: which variant of which manifest this folder holds, and for what kind of device."""

    manifest_sha256: str
    target: str
    device: DeviceType
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A complete release folder."""

    folder: Path
    manifest: Manifest
    manifest_sha256: str
    entry: ManifestEntry
    device: DeviceType
    main: Path
    """Main file of the variant; its other files lie beside it."""
    golden: Path


def write_release(
    trusted_manifest_bytes: bytes, manifest: Manifest, target: str, blobs: Path, folder: Path, *, device: DeviceType
) -> Release:
    """Build the release folder from the content store; it appears complete or not at all.

    If the same release is there already it is returned as it is; a damaged one in its place is replaced.

    Args:
        trusted_manifest_bytes: `Trusted.manifest_bytes`.
        manifest: `Trusted.manifest`.
        target: name of the variant to unpack.
        blobs: content store that `fetch_blobs` has filled.
        folder: where the release shall lie.
        device: kind of device that the variant will run on.

    Raises:
        NotFoundError: the manifest has no such target.
        BundleError: a file's name cannot stand in a release folder, or a blob is not in the store.
        StorageError: the disk is full or not writable; nothing is left at `folder`.
    """
    entry = manifest.entry(target)
    if entry is None:
        msg = f"{manifest.name} has no variant {target}."
        raise NotFoundError(msg, next_step=f"It has {', '.join(each.variant.name for each in manifest.entries)}.")
    fault = set_fault([*_OURS, *(file.path for file in entry.variant.files)])
    if fault is not None:
        msg = f"The variant {target} cannot be unpacked: {fault}."
        raise BundleError(msg)
    record = ReleaseRecord(manifest_sha256=sha256_hex(trusted_manifest_bytes), target=target, device=device)
    present = _present(folder, record)
    if present is not None:
        return present
    work = folder.with_name(f".{folder.name}.part")
    with storage_errors(folder):
        _remove(work)
        try:
            _fill(work, trusted_manifest_bytes, record, [(GOLDEN, manifest.golden), *_named(entry)], blobs)
            _remove(folder)
            work.rename(folder)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        fsync_dir(folder.parent)
    return open_release(folder)


def open_release(folder: Path, *, verify_bytes: bool = False) -> Release:
    """Open a release folder and check that it is complete.

    Args:
        folder: where it lies.
        verify_bytes: read every file and compare its digest, instead of its length only.

    Raises:
        NotFoundError: there is no such folder.
        BundleError: it is not complete.
        DigestMismatchError: something in it has changed.
        StorageError: it cannot be read.
    """
    if not folder.is_dir():
        msg = f"There is no release at {folder}."
        raise NotFoundError(msg)
    ready, data = _read(folder, READY), _read(folder, RECORD)
    if ready.decode("ascii", "replace").strip() != sha256_hex(data):
        raise _changed(folder, RECORD)
    record = _document(data, ReleaseRecord, folder / RECORD, SCHEMA)
    manifest_bytes = _read(folder, MANIFEST)
    if sha256_hex(manifest_bytes) != record.manifest_sha256:
        raise _changed(folder, MANIFEST)
    manifest = _document(manifest_bytes, Manifest, folder / MANIFEST, MANIFEST_SCHEMA)
    entry = manifest.entry(record.target)
    if entry is None:
        msg = f"The release {folder} is for {record.target}, which its manifest does not have."
        raise BundleError(msg)
    for name, file in [(GOLDEN, manifest.golden), *_named(entry)]:
        _check_file(folder, name, file, verify_bytes=verify_bytes)
    return Release(
        folder=folder,
        manifest=manifest,
        manifest_sha256=record.manifest_sha256,
        entry=entry,
        device=record.device,
        main=folder / entry.variant.files[0].path,
        golden=folder / GOLDEN,
    )


def _named(entry: ManifestEntry) -> list[tuple[str, FileRef]]:
    return [(file.path, file) for file in entry.variant.files]


def _present(folder: Path, record: ReleaseRecord) -> Release | None:
    """Return the release at `folder` if it is this very one and whole, byte for byte."""
    try:
        present = open_release(folder, verify_bytes=True)
    except (NotFoundError, BundleError, DigestMismatchError):
        return None
    same = (present.manifest_sha256, present.entry.variant.name, present.device)
    return present if same == (record.manifest_sha256, record.target, record.device) else None


def _fill(
    work: Path, manifest_bytes: bytes, record: ReleaseRecord, files: list[tuple[str, FileRef]], blobs: Path
) -> None:
    work.mkdir(parents=True)
    folders = {work}
    for name, file in files:
        _place(store_path(blobs, file.sha256), work / name, file)
        folders.update(parent for parent in (work / name).parents if parent.is_relative_to(work))
    atomic_write(work / MANIFEST, manifest_bytes)
    data = to_json(record)
    atomic_write(work / RECORD, data)
    for folder in sorted(folders, reverse=True):
        fsync_dir(folder)
    atomic_write(work / READY, f"{sha256_hex(data)}\n".encode())


def _place(blob: Path, destination: Path, file: FileRef) -> None:
    if not blob.is_file() or blob.stat().st_size != file.size:
        msg = f"{file.path} is not in the content store, or not whole."
        raise BundleError(msg, next_step="Run the installation again.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(blob, destination)
    except OSError:  # another disk, or one without hard links
        with writing(destination, mode=0o444) as out, blob.open("rb") as source:
            shutil.copyfileobj(source, out, CHUNK)


def _check_file(folder: Path, name: str, file: FileRef, *, verify_bytes: bool) -> None:
    path = folder / name
    if not path.is_file():
        msg = f"The release {folder} is not complete: {name} is missing."
        raise BundleError(msg, next_step="Install the bundle again.")
    with storage_errors(path):
        size = path.stat().st_size
    if size != file.size or (verify_bytes and not is_intact(path, file)):
        raise _changed(folder, name)


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.is_file():
        msg = f"The release {folder} is not complete: {name} is missing."
        raise BundleError(msg, next_step="Install the bundle again.")
    with storage_errors(path):
        return path.read_bytes()


def _document(data: bytes, kind: type[_T], path: Path, schema: int) -> _T:
    try:
        return from_json(data, kind, what=str(path), schema=schema)
    except DocumentError as error:
        raise BundleError(error.message, next_step=error.next_step) from error


def _changed(folder: Path, name: str) -> DigestMismatchError:
    msg = f"{name} in the release {folder} has changed since it was installed."
    return DigestMismatchError(msg, next_step="Install the bundle again.")


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
