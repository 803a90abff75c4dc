"""Finds the line of the user's own source that an error came from, and what to do about it."""

import importlib.util
import linecache
import traceback
from dataclasses import dataclass
from pathlib import Path

_OURS = Path(__file__).resolve().parents[1]
_BRANCH = (
    "Let no Python decision or size depend on a tensor's values: use torch.where or torch.clamp, keep .item() and "
    ".tolist() out of forward, or capture a sub-module without that line (--submodule)."
)
_NUMPY = "Write that line with torch operations: NumPy and Python numbers cannot stand in a graph."
_OTHER = "Rewrite the line that is named, or capture a sub-module without it (--submodule)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of source."""

    path: str
    line: int
    code: str
    """The line itself, without its indent; empty when the source is not there."""

    def __str__(self) -> str:
        """Return `net.py, line 12 ("return x.item()")`."""
        code = f' ("{self.code}")' if self.code else ""
        return f"{self.path}, line {self.line}{code}"


def place_of(error: BaseException) -> Place | None:
    """Return the innermost line outside torch and wherry that `error`, or what caused it, went through."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        for frame in reversed(traceback.extract_tb(current.__traceback__)):
            if not _is_machinery(frame.filename):
                line = frame.lineno or 0
                code = (frame.line or linecache.getline(frame.filename, line)).strip()
                return Place(path=frame.filename, line=line, code=code[:120])
        current = current.__cause__ or current.__context__
    return None


def advice(error: BaseException) -> str:
    """Return what to do about a network that cannot be captured."""
    text = str(error)
    if "data-dependent" in text or "Data-dependent" in text:
        return _BRANCH
    if "numpy" in text.lower():
        return _NUMPY
    return _OTHER


def first_line(error: BaseException, limit: int = 300) -> str:
    """Return the first line of an error's text, or its class."""
    lines = str(error).strip().splitlines()
    return lines[0][:limit] if lines else type(error).__name__


def _is_machinery(path: str) -> bool:
    """Return whether a file belongs to torch, Python's own library or wherry, or is no file at all."""
    if not path or path.startswith("<"):
        return True
    file, library = Path(path).resolve(), Path(traceback.__file__).resolve().parent
    torch = importlib.util.find_spec("torch")
    ours = [_OURS] if torch is None or torch.origin is None else [_OURS, Path(torch.origin).resolve().parent]
    own = file.is_relative_to(library) and "site-packages" not in file.parts
    return own or any(file.is_relative_to(place) for place in ours)
