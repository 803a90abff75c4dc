"""Pack: proven variants become an unsigned bundle folder. What was not proven, or has changed since, stays out."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from wherry.bundle.companions import companions
from wherry.bundle.layout import MANIFEST, MAX_MANIFEST, MAX_MEMBERS, blob_path, member_sizes, path_fault, set_fault
from wherry.core.codec import to_json
from wherry.core.digest import FileRef, sha256_hex
from wherry.core.errors import BadInputError, DigestMismatchError, NotFoundError, ProofRefusedError, RefusedError
from wherry.core.manifest import DeploymentProfile, Manifest, ManifestEntry
from wherry.core.model import Version, check_name
from wherry.core.report import Measurement, Proven
from wherry.durable import CHUNK, atomic_write, fsync_dir, storage_errors, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class PackEntry:
    """A proven variant, where its files lie, and how fast it is if that was measured."""

    proven: Proven
    files: Path
    """Folder that holds `proven.variant.files` under their names."""
    measurement: Measurement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDraft:
    """What shall go into a bundle."""

    product: str
    model: str
    version: Version
    release: int
    """Counter of this product's releases, from 1."""
    entries: tuple[PackEntry, ...]
    """Recommended first."""
    golden: Path
    profiles: tuple[DeploymentProfile, ...]
    created_at: str
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An unsigned bundle folder, complete and checked."""

    folder: Path
    manifest: Manifest
    manifest_bytes: bytes


def pack(draft: BundleDraft, folder: Path) -> Bundle:
    """Write the bundle folder: manifest, each blob once, companions. It is whole or not there.

    Raises:
        ProofRefusedError: an entry is not proven for this version and this golden set.
        DigestMismatchError: a file has changed since its proof.
        NotFoundError: a file is not there.
        BadInputError: a name, the release, or a profile does not fit.
        RefusedError: there is something at `folder`.
        StorageError: the disk is full or not writable.
    """
    _check_draft(draft)
    manifest, files = _manifest(draft)
    manifest_bytes = to_json(manifest)
    _check_members(manifest, manifest_bytes)
    with _new_folder(folder) as work:
        for source, promised in _wanted(draft):
            _copy_blob(source, promised, work / blob_path(promised.sha256))
        for name, data in files.items():
            atomic_write(work / name, data)
        atomic_write(work / MANIFEST, manifest_bytes)
    return Bundle(folder=folder, manifest=manifest, manifest_bytes=manifest_bytes)


def _manifest(draft: BundleDraft) -> tuple[Manifest, dict[str, bytes]]:
    version = draft.version
    bare = Manifest(
        product=draft.product,
        model=draft.model,
        version=version.number,
        version_digest=version.digest,
        semantic_version=version.semantic_version,
        release=draft.release,
        created_at=draft.created_at,
        spec=version.spec,
        lineage=version.lineage,
        metrics=version.metrics,
        golden=version.golden,
        entries=tuple(
            ManifestEntry(variant=entry.proven.variant, report=entry.proven.report, measurement=entry.measurement)
            for entry in draft.entries
        ),
        profiles=draft.profiles,
        notes=draft.notes,
    )
    files = companions(bare)
    return replace(bare, companions=tuple(FileRef.of(name, data) for name, data in files.items())), files


def _check_members(manifest: Manifest, data: bytes) -> None:
    """What cannot be read again on a device is not written."""
    members = member_sizes(manifest, sha256_hex(data), len(data))
    fault = set_fault(members)
    if len(data) > MAX_MANIFEST or len(members) > MAX_MEMBERS // 2:
        fault = f"{len(members)} files and a manifest of {len(data)} bytes are too much"
    if fault is not None:
        msg = f"The bundle cannot be packed: {fault}."
        raise BadInputError(msg, next_step="Choose other names, or pack fewer variants.")


def _check_draft(draft: BundleDraft) -> None:
    check_name(draft.product, "a product name")
    if draft.release < 1:
        msg = f"A release is counted from 1, not {draft.release}."
        raise BadInputError(msg)
    if draft.model != draft.version.model:
        msg = f"{draft.version.name} is not a version of {draft.model}."
        raise BadInputError(msg)
    if not draft.entries:
        msg = "There is no proven variant to pack."
        raise BadInputError(msg, next_step="Export and prove at least one target first.")
    for entry in draft.entries:
        _check_proven(entry.proven, draft.version)
    targets = [entry.proven.variant.name for entry in draft.entries]
    twice = sorted({name for name in targets if targets.count(name) > 1})
    if twice:
        msg = f"The target {twice[0]} is there twice."
        raise BadInputError(msg)
    _check_profiles(draft.profiles, targets)
    fault = path_fault(draft.version.golden.path)
    if fault is not None:
        msg = f"The golden set's name {draft.version.golden.path!r} {fault}."
        raise BadInputError(msg)


def _check_proven(proven: Proven, version: Version) -> None:
    variant, report = proven.variant, proven.report
    wrong = None
    if not report.passed or report.reasons:
        wrong = f"its verdict is {report.verdict}"
    elif report.variant != variant.digest:
        wrong = "its proof is about other files"
    elif variant.version_digest != version.digest:
        wrong = f"it was not made from {version.name}"
    elif report.golden != version.golden.sha256:
        wrong = "its proof used another golden set"
    if wrong is not None:
        msg = f"The variant {variant.name} cannot be packed: {wrong}."
        raise ProofRefusedError(msg, next_step="Prove the variant again, and pack what passes.")
    fault = set_fault(file.path for file in variant.files)
    if fault is not None or not variant.files:
        msg = f"The variant {variant.name} cannot be packed: {fault or 'it has no files'}."
        raise BadInputError(msg)


def _check_profiles(profiles: tuple[DeploymentProfile, ...], targets: list[str]) -> None:
    for profile in profiles:
        if profile.target not in targets:
            msg = f"The profile {profile.name} wants {profile.target}, which is not in the bundle."
            raise BadInputError(msg)
    fault = set_fault(profile.model_file for profile in profiles)
    if fault is not None:
        msg = f"The profiles' files do not fit: {fault}."
        raise BadInputError(msg)


def _wanted(draft: BundleDraft) -> Iterator[tuple[Path, FileRef]]:
    """Give every file with its promise, each digest once."""
    seen: set[str] = set()
    pairs = [(draft.golden, draft.version.golden)]
    pairs += [(entry.files / file.path, file) for entry in draft.entries for file in entry.proven.variant.files]
    for source, promised in pairs:
        if promised.sha256 not in seen:
            seen.add(promised.sha256)
            yield source, promised


def _copy_blob(source: Path, promised: FileRef, destination: Path) -> None:
    if not source.is_file():
        msg = f"{source} does not exist."
        raise NotFoundError(msg)
    digest, size = hashlib.sha256(), 0
    with writing(destination) as out, storage_errors(source), source.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
            size += len(piece)
            out.write(piece)
        if (size, digest.hexdigest()) != (promised.size, promised.sha256):
            msg = f"{source} has changed since it was proven."
            raise DigestMismatchError(msg, next_step="Export and prove the variant again.")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill which becomes `folder` when the block ends well, and vanishes when it does not."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} is not empty."
        raise RefusedError(msg, next_step="Choose another folder, or remove that one.")
    work = folder.with_name(f".{folder.name}.part")
    with storage_errors(folder):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            yield work
            if folder.exists():
                folder.rmdir()
            work.rename(folder)
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(work)
            raise
        fsync_dir(folder.parent)
