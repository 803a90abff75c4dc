"""Looks into a checkpoint before it is opened: decides by content, loads nothing, and refuses what it cannot read.

The allow-list is in `allowed.py`; each format's rules are in `formats/`. Nothing heavy is imported.
"""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from wherry.checkpoint.archive import Archive
from wherry.checkpoint.findings import Finding, FormatReport, Tier, UncleanError
from wherry.checkpoint.formats import pt2, safetensors, torch_legacy, torch_zip, torchscript
from wherry.checkpoint.parts import CHUNK, Part, part_of
from wherry.core.errors import CheckpointError, NotFoundError, ScanRefusedError, StorageError

UNKNOWN = "unknown"
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """What a file is, and whether it may be opened."""

    path: str
    sha256: str
    size: int
    """Length in bytes."""
    format: str
    """`torch-zip`, `torch-legacy`, `safetensors`, `pt2`, `pickle`, `zip` or `unknown`: what the content says."""
    verdict: Literal["clean", "refused"]
    findings: tuple[Finding, ...]
    """Empty or warnings only when clean; otherwise why not, first cause first."""
    needs: Tier = "tensors"
    """`modules`: it holds whole Python objects, all of them on the longer allow-list; opening it needs a flag."""
    schema: int = 1

    @property
    def clean(self) -> bool:
        """Whether it may be opened."""
        return self.verdict == "clean"

    @property
    def forbidden(self) -> bool:
        """Whether it holds what was not allowed by name, rather than being damaged or no checkpoint at all."""
        return any(finding.kind == "forbidden" for finding in self.findings)


def scan(path: Path, *, allow: Tier = "tensors") -> ScanReport:
    """Read the file from its first byte to its last and say whether it may be opened. Never opens it.

    Raises:
        NotFoundError: there is no such file.
        StorageError: it cannot be read.
    """
    if not path.is_file():
        msg = f"{path} is not a file."
        raise NotFoundError(msg, next_step="Check the path of the checkpoint.")
    try:
        with path.open("rb") as file:
            return scan_file(file, path, allow=allow)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise StorageError(msg) from error


def scan_file(file: BinaryIO, path: Path, *, allow: Tier = "tensors") -> ScanReport:
    """Like `scan`, for a file that is open already, so that what was scanned is what is opened.

    Args:
        file: opened for reading bytes; its position afterwards is not defined.
        path: name for the report.
        allow: `tensors` lets pass what plain tensors need; `modules` also whole networks and estimators, by name.
    """
    digest, size = _digest(file)
    with ExitStack() as opened:
        report = _read(part_of(file, size, opened, allow=allow))
    return ScanReport(
        path=str(path),
        sha256=digest,
        size=size,
        format=report.format,
        verdict="refused" if any(finding.refuses for finding in report.findings) else "clean",
        findings=report.findings,
        needs=report.needs,
    )


def check(path: Path) -> ScanReport:
    """Return the report of a clean file.

    Raises:
        NotFoundError: there is no such file.
        ScanRefusedError: anything else than clean, a file that cannot be parsed included.
    """
    report = scan(path)
    if not report.clean:
        raise ScanRefusedError(sentence(report))
    return report


def demand_clean(report: ScanReport) -> None:
    """Let a clean file pass.

    Raises:
        ScanRefusedError: it holds what was not allowed by name.
        CheckpointError: it is damaged, or no checkpoint.
    """
    if report.forbidden:
        raise ScanRefusedError(sentence(report))
    if not report.clean:
        raise CheckpointError(sentence(report), next_step="Get the file again, or save the checkpoint again.")


def sentence(report: ScanReport) -> str:
    """Return the findings as one sentence for people; a second finding of the same kind is counted, not told."""
    reasons = sorted(report.findings, key=lambda finding: finding.kind != "forbidden")
    told = " ".join(str(reason) for reason in reasons[:_SHOWN])
    more = f" ({len(reasons) - _SHOWN} more findings.)" if len(reasons) > _SHOWN else ""
    return f"{report.path} was not opened: {told}{more}"


def _digest(file: BinaryIO) -> tuple[str, int]:
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while piece := file.read(CHUNK):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _read(part: Part) -> FormatReport:
    head = part.head(512)
    if not head:
        return _unreadable(UNKNOWN, "It is empty.")
    if head.startswith(b"PK"):
        return _read_archive(part)
    if safetensors.matches(head):
        return safetensors.read(part)
    if head[257:262] == b"ustar":
        return _unreadable(UNKNOWN, "It is a tar archive, as only torch before 0.1.10 wrote it.")
    return _read_streams(part, head)


def _read_archive(part: Part) -> FormatReport:
    try:
        archive = Archive(part.file, part.size)
    except UncleanError as error:
        return FormatReport(format="zip", findings=(error.finding,))
    if pt2.matches(archive):
        return pt2.read(archive, part)
    if torchscript.matches(archive):
        return torchscript.read(archive, part)
    if torch_zip.matches(archive):
        return torch_zip.read(archive, part)
    return _unreadable("zip", "It is a zip archive, but not one of torch.save or torch.export.save.")


def _read_streams(part: Part, head: bytes) -> FormatReport:
    """Read raw pickles; a file that neither says it is one nor parses as one is simply not a checkpoint."""
    report = torch_legacy.read(part)
    declared = head[:1] == b"\x80"
    if report.format == torch_legacy.PICKLE and not declared and torch_legacy.is_noise(part):
        return _unreadable(UNKNOWN, "It is not a checkpoint of any known format.")
    return report


def _unreadable(name: str, what: str) -> FormatReport:
    return FormatReport(format=name, findings=(Finding(kind="damaged", where="", what=what, code="not-a-model"),))
