"""Scans a file or a folder of any depth; every file gets a report, and nothing ends in a crash."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from wherry.checkpoint.findings import Finding, Tier, UncleanError
from wherry.checkpoint.references import check_link
from wherry.checkpoint.scan import ScanReport, scan_file
from wherry.core.errors import NotFoundError

MAX_FILES = 200_000
_BY_CHANCE = frozenset({"pickle-opcode", "pickle-limit", "pickle-frame", "protobuf-limit"})
"""What raw numbers may look like if their first bytes happen to be those of another format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeReport:
    """What was found in a file or a folder."""

    path: str
    verdict: Literal["clean", "refused"]
    """`refused` if one file is."""
    needs: Tier
    """`modules` if one file needs it."""
    files: tuple[ScanReport, ...]
    """Sorted by path."""
    schema: int = 1

    @property
    def refused(self) -> tuple[ScanReport, ...]:
        """The files that may not be opened."""
        return tuple(report for report in self.files if not report.clean)


def scan_tree(path: Path, *, allow: Tier = "modules") -> TreeReport:
    """Scan a file, or every file below a folder. Links are not followed, and may not lead out of the folder.

    Args:
        path: a file or a folder.
        allow: as in `scan_file`.

    Raises:
        NotFoundError: there is nothing of that name.
    """
    if not path.is_symlink() and not path.exists():
        msg = f"{path} does not exist."
        raise NotFoundError(msg, next_step="Check the path.")
    if path.is_dir():
        files = _account([_scan_entry(entry, path, allow) for entry in _entries(path)])
    else:
        files = (_scan_one(path, allow, inside=False),)
    return TreeReport(
        path=str(path),
        verdict="clean" if all(report.clean for report in files) else "refused",
        needs="modules" if any(report.needs == "modules" for report in files) else "tensors",
        files=tuple(sorted(files, key=lambda report: report.path)),
    )


def _entries(folder: Path) -> Iterator[Path | ScanReport]:
    """Yield what is no folder, or the report of a folder that cannot be looked into."""
    waiting, count = [folder], 0
    while waiting:
        current = waiting.pop()
        try:
            with os.scandir(current) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            yield _refusal(current, f"It cannot be looked into: {error.strerror or error}.", "unreadable")
            continue
        for entry in entries:
            count += 1
            if count > MAX_FILES:
                yield _refusal(folder, f"It holds more than {MAX_FILES} files; the rest was not read.", "expansion")
                return
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            else:
                yield Path(entry.path)


def _scan_entry(entry: Path | ScanReport, folder: Path, allow: Tier) -> ScanReport:
    if isinstance(entry, ScanReport):
        return entry
    if entry.is_symlink():
        try:
            check_link(entry, folder, "")
        except UncleanError as error:
            return _refusal(entry, error.finding.what, error.finding.code, format_name="link")
        return _report(entry, "link", ())
    return _scan_one(entry, allow, inside=True)


def _scan_one(path: Path, allow: Tier, *, inside: bool) -> ScanReport:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return _refusal(path, "It is not a regular file but a pipe, a socket or a device.", "not-a-file")
        with path.open("rb") as file:
            return scan_file(file, path, allow=allow, inside=inside)
    except OSError as error:
        return _refusal(path, f"It cannot be read: {error.strerror or error}.", "unreadable")


def _account(files: list[ScanReport]) -> tuple[ScanReport, ...]:
    """Accept files of raw numbers that a model beside them asks for; nothing else may be unknown."""
    asked = {os.path.normpath(Path(report.path).parent / name) for report in files for name in report.references}
    return tuple(_data(report) if os.path.normpath(report.path) in asked else report for report in files)


def _data(report: ScanReport) -> ScanReport:
    """Return the report of raw numbers; what is something else in earnest, and not by chance, stays what it is."""
    if report.clean or any(item.kind == "forbidden" and item.code not in _BY_CHANCE for item in report.findings):
        return report
    return replace(report, format="data", verdict="clean", findings=(), needs="tensors")


def _refusal(path: Path, what: str, code: str, format_name: str = "unknown") -> ScanReport:
    return _report(path, format_name, (Finding(kind="damaged", where="", what=what, code=code),))


def _report(path: Path, format_name: str, findings: tuple[Finding, ...]) -> ScanReport:
    return ScanReport(
        path=str(path),
        sha256="",
        size=0,
        format=format_name,
        verdict="refused" if findings else "clean",
        findings=findings,
    )
