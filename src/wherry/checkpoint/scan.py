"""Looks into a checkpoint before it is opened: decides by content, loads nothing, and refuses what it cannot read.

The allow-list is in `allowed.py`; each format's rules are in `formats/`. Nothing heavy is imported.
"""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from wherry.checkpoint.archive import CHUNK, Archive
from wherry.checkpoint.findings import Finding, FormatReport, UncleanError
from wherry.checkpoint.formats import pt2, safetensors, torch_legacy, torch_zip
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
    """Empty when clean; otherwise why not, first cause first."""
    schema: int = 1

    @property
    def clean(self) -> bool:
        """Whether it may be opened."""
        return self.verdict == "clean"

    @property
    def forbidden(self) -> bool:
        """Whether it holds what was not allowed by name, rather than being damaged or no checkpoint at all."""
        return any(finding.kind == "forbidden" for finding in self.findings)


def scan(path: Path) -> ScanReport:
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
            return scan_file(file, path)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise StorageError(msg) from error


def scan_file(file: BinaryIO, path: Path, *, allow: Literal["tensors", "modules"] = "tensors") -> ScanReport:
    """Like `scan`, for a file that is open already, so that what was scanned is what is opened.

    Args:
        file: opened for reading bytes; its position afterwards is not defined.
        path: name for the report.
        allow: which list of names; whole networks have none of their own yet.
    """
    del allow  # both are the list of what tensors are made of
    digest, size = _digest(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pickletools warns about escapes in texts that are no pickles at all
        report = _read(file, size)
    return ScanReport(
        path=str(path),
        sha256=digest,
        size=size,
        format=report.format,
        verdict="refused" if report.findings else "clean",
        findings=report.findings,
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


def _read(file: BinaryIO, size: int) -> FormatReport:
    file.seek(0)
    head = file.read(512)
    if not head:
        return _unreadable(UNKNOWN, "It is empty.")
    if head.startswith(b"PK"):
        return _read_archive(file, size)
    if safetensors.matches(head):
        return safetensors.read(file, size)
    if head[257:262] == b"ustar":
        return _unreadable(UNKNOWN, "It is a tar archive, as only torch before 0.1.10 wrote it.")
    return _read_streams(file, size, head)


def _read_archive(file: BinaryIO, size: int) -> FormatReport:
    try:
        archive = Archive(file, size)
    except UncleanError as error:
        return FormatReport(format="zip", findings=(error.finding,))
    if pt2.matches(archive):
        return pt2.read(archive)
    if torch_zip.matches(archive):
        return torch_zip.read(archive)
    return _unreadable("zip", "It is a zip archive, but not one of torch.save or torch.export.save.")


def _read_streams(file: BinaryIO, size: int, head: bytes) -> FormatReport:
    """Read raw pickles; a file that neither says it is one nor parses as one is simply not a checkpoint."""
    report = torch_legacy.read(file, size)
    declared = head[:1] == b"\x80"
    if report.format == torch_legacy.PICKLE and not declared and torch_legacy.is_noise(file):
        return _unreadable(UNKNOWN, "It is not a checkpoint of any known format.")
    return report


def _unreadable(name: str, what: str) -> FormatReport:
    return FormatReport(format=name, findings=(Finding(kind="damaged", where="", what=what),))
