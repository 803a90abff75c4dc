"""The verb that looks into files before anything opens them: scan."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.options import AsJson, Quiet

if TYPE_CHECKING:
    from rich.text import Text

    from wherry.checkpoint.findings import Finding
    from wherry.checkpoint.scan import ScanReport
    from wherry.checkpoint.tree import TreeReport

_SHOWN = 5


def add_to(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("scan")(scan)


def scan(
    path: Annotated[Path, typer.Argument(help="A file or a folder: checkpoints, models and archives of any kind.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look into a file or a folder without loading anything; exit code 3 with a reason for each refused file."""
    from wherry.checkpoint.tree import scan_tree
    from wherry.cli.output import emit, end_with
    from wherry.core.errors import ScanRefusedError

    report = scan_tree(path)
    emit(report, (_unbroken(line) for line in _lines(report)), as_json=as_json, quiet=quiet)
    if report.verdict == "refused":
        count = len(report.refused)
        msg = f"{path} was refused: {count} of {len(report.files)} files may not be opened."
        if len(report.files) == 1:
            msg = f"{path} was refused: {_reason(report.files[0])}"
        step = "Open nothing of it; ask who made it, and have the weights saved as safetensors or a plain state_dict."
        end_with(ScanRefusedError(msg, next_step=step))


def _unbroken(line: str) -> "Text":
    """Return a line that is never wrapped, so that a path in it can be copied."""
    from rich.text import Text

    return Text(line, no_wrap=True, overflow="ignore")


def _lines(report: "TreeReport") -> list[str]:
    lines = []
    for file in report.files:
        what = file.format if file.needs == "tensors" else f"{file.format}, needs modules"
        digest = f", sha256 {file.sha256[:12]}" if file.sha256 else ""
        lines.append(f"{file.path}: {file.verdict} ({what}{digest})")
        lines.extend(f"    {_finding(item)}" for item in file.findings[:_SHOWN])
        if len(file.findings) > _SHOWN:
            lines.append(f"    and {len(file.findings) - _SHOWN} more findings")
    if len(report.files) > 1:
        lines.append(f"{report.path}: {report.verdict} ({len(report.files)} files, {len(report.refused)} refused)")
    return lines or [f"{report.path}: clean (no files)"]


def _finding(finding: "Finding") -> str:
    return f"{'' if finding.refuses else 'warning: '}{finding} [{finding.code}]"


def _reason(file: "ScanReport") -> str:
    return next(str(finding) for finding in file.findings if finding.refuses)
