"""The few pieces that a plot is made of: scales with round ticks, and SVG elements as text."""

import math
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH = 480
"""Of every plot, in the units of its own coordinates: letters stay readable on a phone."""
LEFT = 14
RIGHT = 14
_LOG_FROM = 6.0
_MOST_TICKS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Values to positions; logarithmic where the values span more than a factor of six."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    @classmethod
    def over(cls, values: list[float], start: float, stop: float, *, zero: bool = False) -> "Scale":
        """Return a scale that shows all values with a little room at the ends.

        Args:
            values: at least one.
            start: position of the smallest.
            stop: position of the largest.
            zero: let a linear scale begin at zero.
        """
        low, high = min(values), max(values)
        if not zero and low > 0 and high / low > _LOG_FROM:
            return cls(low=low / 1.15, high=high * 1.15, start=start, stop=stop, log=True)
        room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        return cls(low=0.0 if zero else low - room, high=high + room, start=start, stop=stop)

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Return three to eight round values on the scale."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            choices = [
                [
                    m
                    for power in range(first, last + 1)
                    for step in steps
                    if self.low <= (m := step * 10.0**power) <= self.high
                ]
                for steps in ((1, 2, 5), (1, 3), (1,))
            ]
            return next((marks for marks in choices if len(marks) <= _MOST_TICKS), choices[-1])
        step = 10 ** math.floor(math.log10((self.high - self.low) / 3))
        step *= next(factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (step * factor) <= 6)
        first = math.ceil(self.low / step)
        return [round(step * index, 10) for index in range(first, math.floor(self.high / step) + 1)]


def plot(body: str, height: float, title: str) -> str:
    """Return a whole plot; `title` is what a screen reader says."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Return a piece of text; `kind` is a class of the style sheet."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    """Return a filled rectangle."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" class="{kind}"/>'


def path(points: list[tuple[float, float]], kind: str) -> str:
    """Return a line through points."""
    return f'<path d="M{" L".join(f"{x:.1f},{y:.1f}" for x, y in points)}" class="{kind}"/>'


def bottom_axis(scale: Scale, top: float, bottom: float, label: str) -> str:
    """Return grid lines with their values below, and what they are."""
    grid = "".join(line(scale(tick), top, scale(tick), bottom, "grid") for tick in scale.ticks())
    words = "".join(text(scale(tick), bottom + 15, short(tick), "tick", "middle") for tick in scale.ticks())
    return grid + words + text((scale.start + scale.stop) / 2, bottom + 32, label, "axis", "middle")


def left_axis(scale: Scale, left: float, right: float, label: str) -> str:
    """Return grid lines with their values to the left, and above them what they are."""
    top = min(scale.start, scale.stop)
    grid = "".join(line(left, scale(tick), right, scale(tick), "grid") for tick in scale.ticks())
    words = "".join(text(left - 6, scale(tick) + 4, short(tick), "tick", "end") for tick in scale.ticks())
    return grid + words + text(LEFT, top - 12, label, "axis")


def short(value: float) -> str:
    """Return a number as it stands at an axis."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def spread(wanted: list[float], gap: float) -> list[float]:
    """Return positions near the wanted ones, in the same order, that keep at least `gap` apart."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = list(wanted)
    for before, index in pairwise(order):
        placed[index] = max(placed[index], placed[before] + gap)
    over = [placed[index] - wanted[index] for index in order]
    shift = sum(over) / len(over) if over else 0.0
    return [place - shift for place in placed]
