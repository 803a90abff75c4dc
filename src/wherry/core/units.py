"""Quantities as people write them: `30ms`, `0.03s`, `12MB`, `12MiB`, `1` point."""

import re

from wherry.core.errors import UsageError

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z%]*)")
_TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_SIZES = {"B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_POINTS = {"": 0.01, "%": 0.01, "PT": 0.01, "POINT": 0.01, "POINTS": 0.01}


def milliseconds(text: str) -> float:
    """Read a time such as `30ms`, `0.03s` or `250us`, in milliseconds.

    Raises:
        UsageError: it is not a positive time with its unit.
    """
    return _read(text, _TIMES, "a time", "Write it with its unit: 30ms or 0.03s.")


def size_bytes(text: str) -> float:
    """Read a size such as `12MB` (12 000 000) or `12MiB` (12 x 2^20), in bytes; the unit's case does not matter.

    Raises:
        UsageError: it is not a positive size with its unit.
    """
    return _read(text, _SIZES, "a size", "Write it with its unit: 12MB, 12MiB or 1.5GB.")


def points(text: str) -> float:
    """Read a loss of a metric in points: `1` is 0.01, as from 0.80 to 0.79.

    Raises:
        UsageError: it is not a number of points.
    """
    return _read(text, _POINTS, "a number of points", "Write 1 for one point: from 0.80 to 0.79.")


def _read(text: str, units: dict[str, float], what: str, next_step: str) -> float:
    found = _QUANTITY.fullmatch(text.strip())
    unit = found[2] if found else ""
    factor = units.get(unit, units.get(unit.upper()))
    if found is None or factor is None:
        msg = f"{text!r} is not {what}."
        raise UsageError(msg, next_step=next_step)
    return float(found[1]) * factor
