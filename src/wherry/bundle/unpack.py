"""Unpack: blobs of a trusted bundle into the device's content store, checked while they are written."""

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from wherry.bundle.layout import blob_path, blobs
from wherry.bundle.trust.trusted import Trusted
from wherry.core.digest import FileRef, check_sha256
from wherry.core.errors import BundleError, DigestMismatchError, StorageError
from wherry.durable import CHUNK, storage_errors, writing

_SPARE = 4 << 20
"""Bytes left over for directories, records and the journal."""
_MB = 1_000_000
Progress = Callable[[int, int], None]
"""Called with bytes done and bytes to do."""


def store_path(store: Path, sha256: str) -> Path:
    """Return where the blob of that digest lies in a content store."""
    return store / sha256[:2] / check_sha256(sha256)


def fetch_blobs(
    trusted: Trusted, wanted: Iterable[FileRef], store: Path, *, on_progress: Progress | None = None
) -> list[Path]:
    """Put blobs into the store and return their paths in the order of `wanted`.

    What is there already is checked and kept, or replaced if it is damaged. Memory does not grow with the blobs. Each
    is written as `<hex>.part` beside its place, synced and renamed, so the store never holds half a blob.

    Args:
        trusted: an open bundle, from `verify`.
        wanted: files that the manifest names.
        store: the content store.
        on_progress: called with bytes done and bytes to do.

    Raises:
        BundleError: a file is not part of the bundle, or the bundle changed while it was read.
        DigestMismatchError: a blob is not what was signed; it is not kept.
        StorageError: too little space (said before anything is written), or the disk failed.
    """
    files = list(wanted)
    _check_part_of(trusted, files)
    missing = {file.sha256: file for file in files if not is_intact(store_path(store, file.sha256), file)}
    total = sum(file.size for file in missing.values())
    _check_space(store, total)
    meter = _Meter(total, on_progress)
    for file in missing.values():
        _fetch(trusted, file, store_path(store, file.sha256), meter)
    return [store_path(store, file.sha256) for file in files]


def is_intact(path: Path, file: FileRef) -> bool:
    """Return whether `path` holds exactly the bytes of `file`; reads all of it if the length fits.

    Raises:
        StorageError: it is there and cannot be read.
    """
    with storage_errors(path):
        if not path.is_file() or path.stat().st_size != file.size:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while piece := stream.read(CHUNK):
                digest.update(piece)
        return digest.hexdigest() == file.sha256


def _check_part_of(trusted: Trusted, files: list[FileRef]) -> None:
    known = {file.sha256: file.size for file in blobs(trusted.manifest)}
    for file in files:
        if known.get(file.sha256) != file.size:
            msg = f"{file.path} is not part of {trusted.manifest.name}."
            raise BundleError(msg)


def _check_space(store: Path, need: int) -> None:
    if not need:
        return
    with storage_errors(store):
        store.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(store).free
    if free < need + _SPARE:
        msg = f"The disk of {store} has {free / _MB:.1f} MB free, and {(need + _SPARE) / _MB:.1f} MB are needed."
        raise StorageError(msg, next_step="Free space, then run the same command again; nothing was changed.")


def _fetch(trusted: Trusted, file: FileRef, destination: Path, meter: "_Meter") -> None:
    digest = hashlib.sha256()
    part = destination.with_name(f"{destination.name}.part")
    with writing(destination, part=part, mode=0o444) as out:
        for piece in trusted.source.stream(blob_path(file.sha256)):
            digest.update(piece)
            out.write(piece)
            meter.add(len(piece))
        if digest.hexdigest() != file.sha256:
            msg = f"{file.path} in {trusted.source.path.name} is not what was signed."
            raise DigestMismatchError(msg)


class _Meter:
    """Adds up what was written and tells the caller."""

    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self._done, self._total, self._on_progress = 0, total, on_progress

    def add(self, count: int) -> None:
        """Count more bytes."""
        self._done += count
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)
