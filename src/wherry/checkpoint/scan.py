"""Looks into a checkpoint before it is opened: decides by content, loads nothing, and refuses what it cannot read.

The allow-list is in `allowed.py`; each format's rules are in `formats/`. Nothing heavy is imported.
"""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from wherry.checkpoint.detect import read
from wherry.checkpoint.findings import Finding, Tier
from wherry.checkpoint.parts import CHUNK, part_of
from wherry.core.errors import CheckpointError, NotFoundError, ScanRefusedError, StorageError

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """What a file is, and whether it may be opened."""

    path: str
    sha256: str
    size: int
    """Length in bytes."""
    format: str
    """What the content says: `torch-zip`, `torch-legacy`, `torchscript`, `pt2`, `safetensors`, `onnx`, `tflite`,
    `openvino`, `executorch`, `coreml`, `tensorflow`, `keras`, `numpy`, `pickle`, `sklearn`, `joblib`, `skops`, ...,
    `unknown`; all of them are in `docs/guides/scan.md`."""
    verdict: Literal["clean", "refused"]
    findings: tuple[Finding, ...]
    """Empty or warnings only when clean; otherwise why not, first cause first."""
    needs: Tier = "tensors"
    """`modules`: it holds whole Python objects, all of them on the longer allow-list; opening it needs a flag."""
    references: tuple[str, ...] = ()
    """Relative paths, with `/`, of files beside it that hold its raw numbers."""
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


def scan_file(file: BinaryIO, path: Path, *, allow: Tier = "tensors", inside: bool = False) -> ScanReport:
    """Like `scan`, for a file that is open already, so that what was scanned is what is opened.

    Args:
        file: opened for reading bytes; its position afterwards is not defined.
        path: name for the report.
        allow: `tensors` lets pass what plain tensors need; `modules` also whole networks and estimators, by name.
        inside: whether it lies in a folder that is scanned as one; then it need not be a model.
    """
    digest, size = _digest(file)
    with ExitStack() as opened:
        report = read(part_of(file, size, opened, allow=allow, path=path, inside=inside))
    return ScanReport(
        path=str(path),
        sha256=digest,
        size=size,
        format=report.format,
        verdict="refused" if any(finding.refuses for finding in report.findings) else "clean",
        findings=report.findings,
        needs=report.needs,
        references=report.references,
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
    refusing = [finding for finding in report.findings if finding.refuses]
    reasons = sorted(refusing, key=lambda finding: finding.kind != "forbidden")
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
