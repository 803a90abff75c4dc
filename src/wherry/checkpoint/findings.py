"""What a scan found: the words that the scanner and the formats share."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["forbidden", "damaged", "warning"]
Tier = Literal["tensors", "modules"]
MAX_FINDINGS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One reason not to open a file, or one warning."""

    kind: Kind
    """`forbidden`: it holds what was not allowed by name; `damaged`: it is not, or no longer, a file of its format;
    `warning`: worth reading, and no reason to refuse."""
    where: str
    """Part of the file, such as the name of an archive's member; empty for the file as a whole."""
    what: str
    """One sentence."""
    code: str = ""
    """Stable word for the rule, such as `pickle-name`; for programs that read reports."""

    def __str__(self) -> str:
        """Return the sentence with its place."""
        return f"{self.where}: {self.what}" if self.where else self.what

    @property
    def refuses(self) -> bool:
        """Whether it is a reason not to open the file."""
        return self.kind != "warning"


class UncleanError(Exception):
    """Ends the reading of a file or a part of it; the scan turns it into a finding and never lets it out."""

    def __init__(self, kind: Kind, what: str, *, where: str = "", code: str = "") -> None:
        """Keep the finding."""
        super().__init__(what)
        self.finding = Finding(kind=kind, where=where, what=what, code=code or kind)


def damaged(what: str, *, where: str = "", code: str = "damaged") -> UncleanError:
    """Return the error for bytes that do not follow their format."""
    return UncleanError("damaged", what, where=where, code=code)


def forbidden(what: str, *, where: str = "", code: str = "forbidden") -> UncleanError:
    """Return the error for content that was not allowed by name."""
    return UncleanError("forbidden", what, where=where, code=code)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatReport:
    """What a format's reader says about one file."""

    format: str
    findings: tuple[Finding, ...] = ()
    needs: Tier = "tensors"
    """`modules`: it names what only the longer allow-list has, because it holds whole Python objects."""
    references: tuple[str, ...] = ()
    """Relative paths, with `/`, of files beside it that hold its raw numbers."""
    model: bool = True
    """False for text, pictures and the like: nothing that could be opened as a model."""
