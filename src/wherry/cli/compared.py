"""A comparison as people read it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherry.core.comparison import Comparison, Side

_SHOWN = 12


def comparison_lines(found: "Comparison") -> "list[RenderableType]":
    """Return answers, speed and differences of the two, the most important first."""
    from wherry.cli.output import megabytes, percent, table

    sides = (found.left, found.right)
    rows: list[tuple[str, ...]] = [
        ("runs on", *(f"{side.engine.engine} {side.engine.version} ({side.engine.device})" for side in sides)),
        ("proven", *("yes" if side.proven else "no" for side in sides)),
        ("size", *(megabytes(side.size_bytes) for side in sides)),
        ("median ms", *(_time(side) for side in sides)),
    ]
    if found.quality is not None:
        rows.append((found.quality, *(percent(side.quality) for side in sides)))
    lines: list[RenderableType] = [table(("", found.left.name, found.right.name), rows)]
    lines += [_answers(found), *_drift(found), _speed(found), _size(found)]
    if found.input_difference:
        lines.append(f"The same picture becomes another input: largest difference {found.input_difference:.3g}.")
    lines += found.notes
    differences = [
        (subject, row.what, row.left, row.right) for subject, rows in found.differences.items() for row in rows[:_SHOWN]
    ]
    if differences:
        lines.append(table(("differs", "what", found.left.name, found.right.name), differences))
    more = sum(max(len(rows) - _SHOWN, 0) for rows in found.differences.values())
    return [*lines, f"{more} more differences: see --json."] if more else lines


def _time(side: "Side") -> str:
    return f"{side.p50_ms:.3f} ({side.ci95_ms[0]:.3f}-{side.ci95_ms[1]:.3f})"


def _answers(found: "Comparison") -> str:
    if "agreement" not in found.agreement:
        return f"Both answered {found.examples} examples."
    others = ", ".join(f"{name} {value:.4g}" for name, value in found.agreement.items() if name != "agreement")
    said = f"Their answers agree on {found.agreement['agreement']:.2%} of {found.examples} examples"
    return f"{said} ({others})." if others else f"{said}."


def _drift(found: "Comparison") -> list[str]:
    if found.mean_confidence_drift is None or found.max_confidence_drift is None:
        return []
    mean, most = found.mean_confidence_drift, found.max_confidence_drift
    return [f"Confidence in an answer differs by {mean:.4f} on average, {most:.4f} at most."]


def _speed(found: "Comparison") -> str:
    speed = found.speed
    interval = f"95 % interval {speed.ci95[0]:.3f}-{speed.ci95[1]:.3f}, A/A noise {speed.noise:.1%}"
    if speed.same:
        return f"Equally fast within noise: {speed.ratio:.3f} x ({interval})."
    word, ratio = ("faster", speed.ratio) if speed.ratio > 1 else ("slower", 1 / speed.ratio)
    if word == "slower":
        interval = f"95 % interval {1 / speed.ci95[1]:.3f}-{1 / speed.ci95[0]:.3f}, A/A noise {speed.noise:.1%}"
    return f"{found.right.name} is {ratio:.3f} x {word} ({interval})."


def _size(found: "Comparison") -> str:
    ratio = found.right.size_bytes / max(found.left.size_bytes, 1)
    return f"{found.right.name} has {ratio:.3f} x the size."
