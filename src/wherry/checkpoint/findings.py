"""What a scan found: the words that the scanner and the formats share."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["forbidden", "damaged"]
MAX_FINDINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One reason not to open a file."""

    kind: Kind
    """`forbidden`: it holds what was not allowed by name; `damaged`: it is not, or no longer, a file of its format."""
    where: str
    """Part of the file, such as the name of an archive's member; empty for the file as a whole."""
    what: str
    """One sentence."""

    def __str__(self) -> str:
        """Return the sentence with its place."""
        return f"{self.where}: {self.what}" if self.where else self.what


class UncleanError(Exception):
    """Ends the reading of a file or a part of it; the scan turns it into a finding and never lets it out."""

    def __init__(self, kind: Kind, what: str, *, where: str = "") -> None:
        """Keep the finding."""
        super().__init__(what)
        self.finding = Finding(kind=kind, where=where, what=what)


def damaged(what: str, *, where: str = "") -> UncleanError:
    """Return the error for bytes that do not follow their format."""
    return UncleanError("damaged", what, where=where)


def forbidden(what: str, *, where: str = "") -> UncleanError:
    """Return the error for content that was not allowed by name."""
    return UncleanError("forbidden", what, where=where)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatReport:
    """What a format's reader says about one file."""

    format: str
    findings: tuple[Finding, ...] = ()
