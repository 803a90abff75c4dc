"""The part of an export that runs in a child process: checks the source by digest, then lets the member write."""

import hashlib
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path

from wherry.core.digest import FileRef
from wherry.core.errors import BadInputError
from wherry.core.job import Luggage
from wherry.export.interface import Source, Written
from wherry.export.request import ExportRequest
from wherry.export.targets import exporter_class

WRITE_VARIANT = "wherry.export.child:write_variant"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """What the child is given."""

    request: ExportRequest
    out: str
    """An empty folder."""
    parent: str | None = None
    """Main file of the variant that the target starts from."""
    parent_sha256: str | None = None

    def luggage(self) -> Luggage:
        """Return what this job reads and writes; a parent's other files lie beside its main file."""
        goal = self.request.accuracy
        asked = (self.request.program, self.request.calibration, None if goal is None else goal.evaluation)
        files = [path for path in asked if path is not None]
        parents = () if self.parent is None else (str(Path(self.parent).parent),)
        return Luggage(files=tuple(files), folders=parents, out=(self.out,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the child gives back; the files lie in the folder."""

    written: Written
    files: tuple[FileRef, ...]
    """The main file first, the others by name."""
    seconds: float
    tools: dict[str, str] = field(default_factory=dict)
    """Versions of the tools where it was made."""
    host: str = ""
    """Where it was made."""


def write_variant(job: ExportJob) -> Made:
    """Write one variant's files.

    Raises:
        BadInputError: the program, the parent or the calibration set is not there, or has another digest.
        WherryError: what the member raises.
    """
    request, started = job.request, time.monotonic()
    _check("The program", request.program, request.program_sha256)
    if job.parent is not None:
        _check("The variant it starts from", job.parent, job.parent_sha256)
    if request.calibration is not None:
        manifest = request.calibration_manifest
        _check("The calibration set", request.calibration, manifest.sha256 if manifest else None)
    if request.accuracy is not None:
        _check("The evaluation set", request.accuracy.evaluation, request.accuracy.sha256)
    source = Source(
        model=request.model,
        version=request.version,
        spec=request.spec,
        program=Path(request.program),
        program_format=request.program_format,
        parent=Path(job.parent) if job.parent else None,
        calibration=Path(request.calibration) if request.calibration else None,
        accuracy=request.accuracy,
        architecture=request.architecture,
        facts=request.facts,
    )
    out = Path(job.out)
    written = exporter_class(request.target.format)().export(source, request.target, out)
    others = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    names = [written.main, *(name for name in others if name != written.main)]
    files = tuple(file_ref(out, name) for name in names)
    return Made(
        written=written,
        files=files,
        seconds=round(time.monotonic() - started, 3),
        tools=exporter_class(request.target.format).tool_versions(request.target),
        host=platform.platform(),
    )


def file_ref(folder: Path, name: str) -> FileRef:
    """Return the reference of a file below `folder`, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    path = folder / name
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileRef(path=name, size=path.stat().st_size, sha256=digest)


def _check(what: str, path: str, sha256: str | None) -> None:
    try:
        found = file_ref(Path(path).parent, Path(path).name).sha256
    except OSError as error:
        msg = f"{what} cannot be read at {path}: {error.strerror}."
        raise BadInputError(msg) from error
    if found != sha256:
        msg = f"{what} at {path} is not the one that was registered: its digest is {found[:12]}."
        raise BadInputError(msg, next_step="Register the version again, or restore the file.")
