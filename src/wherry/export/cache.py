"""Variants by what they were made from: the same source, target, tools and spec are not exported twice.

`cache/<key>/` holds the variant's files, `variant.json` and `export.log`. It appears in one step, and what lies there
is checked by digest before it is used. Failures are not kept; their logs are, in `cache/logs/<key>.log`.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from wherry.core.codec import document_digest, from_json, to_json
from wherry.core.errors import DocumentError, StorageError
from wherry.core.variant import Variant
from wherry.export.child import file_ref
from wherry.export.request import ExportRequest

EXPORT_SCHEMA = 2
"""Raised when the same tools and options would give other files, so that old entries are left alone."""
VARIANT_FILE = "variant.json"
LOG_FILE = "export.log"
_BUILDING = ".building-"
_STALE_S = 24 * 3600


def cache_key(request: ExportRequest, tools: dict[str, str], parent_sha256: str | None) -> str:
    """Return the digest of everything that the files of a variant depend on."""
    manifest = request.calibration_manifest
    version = [request.model, request.version, request.version_digest]
    calibration = manifest.sha256 if manifest else None
    goal = request.accuracy
    wanted = [] if goal is None else [[goal.sha256, goal.max_drop, goal.time_budget_s]]
    source = [request.program_sha256, parent_sha256, calibration, *wanted]
    return document_digest([EXPORT_SCHEMA, version, request.spec, request.target, source, tools])


class ExportCache:
    """A folder of finished variants."""

    def __init__(self, root: Path) -> None:
        """Use `root`, which is made when it is not there; what an earlier run left half-finished a day ago goes.

        Raises:
            StorageError: the folder cannot be used.
        """
        self.root = root
        with _storage(root):
            (root / "logs").mkdir(parents=True, exist_ok=True)
            for leftover in root.glob(f"{_BUILDING}*"):
                if time.time() - leftover.stat().st_mtime > _STALE_S:
                    shutil.rmtree(leftover, ignore_errors=True)

    def folder(self, key: str) -> Path:
        """Return where the variant of that key lies or would lie."""
        return self.root / key

    def find(self, key: str) -> Variant | None:
        """Return the variant of that key if it is there and whole; a damaged one is removed."""
        folder = self.folder(key)
        if not folder.is_dir():
            return None
        try:
            stored = (folder / VARIANT_FILE).read_bytes()
            variant = from_json(stored, Variant, what=f"The cached variant {key}", schema=1)
            if all(file_ref(folder, file.path) == file for file in variant.files):
                return variant
        except (OSError, DocumentError):
            pass
        with _storage(folder):
            shutil.rmtree(folder)
        return None

    @contextmanager
    def building(self, key: str) -> Iterator[Path]:
        """Give an empty folder to build in, which is gone afterwards unless `keep` has moved it."""
        with _storage(self.root):
            folder = Path(tempfile.mkdtemp(prefix=f"{_BUILDING}{key[:12]}-", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, key: str, building: Path, variant: Variant, log: Sequence[str]) -> Variant:
        """Move a finished variant to its place, in one step, and return what lies there afterwards.

        Raises:
            StorageError: it cannot be written.
        """
        folder = self.folder(key)
        with _storage(folder):
            _write(building / VARIANT_FILE, to_json(variant))
            _write(building / LOG_FILE, "".join(f"{line}\n" for line in log).encode())
            building.chmod(0o755)
            try:
                building.rename(folder)
            except OSError:
                other = self.find(key)  # another process was faster
                if other is None:
                    raise
                return other
        return variant

    def keep_log(self, key: str, log: Sequence[str]) -> Path:
        """Write what a failed child printed, over what an earlier failure left there, and return the path."""
        path = self.root / "logs" / f"{key}.log"
        with suppress(OSError):  # the failure itself is the news
            path.write_text("".join(f"{line}\n" for line in log), encoding="utf-8")
        return path


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"The export cache at {path} cannot be used: {error.strerror or error}."
        raise StorageError(msg) from error
