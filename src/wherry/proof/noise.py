"""Which differences between measurements are none: smaller than what a variant differs from itself in the same run."""

from collections.abc import Sequence
from itertools import pairwise

from wherry.core.report import Measurement

FLOOR = 0.02
"""Relative difference of medians below which two variants count as equally fast, however still the machine was."""


def run_band(measurements: Sequence[Measurement]) -> float | None:
    """Return the largest A/A difference among measurements of one run, or None where none was taken."""
    return max((m.noise for m in measurements if m.noise is not None), default=None)


def band(*measurements: Measurement) -> float:
    """Return the relative difference that means nothing between these: their A/A differences, at least 2 %."""
    return max(FLOOR, run_band(measurements) or 0.0)


def equally_fast(left: Measurement, right: Measurement) -> bool:
    """Return whether the medians differ by no more than the noise."""
    low, high = sorted((left.p50_ms, right.p50_ms))
    return high <= low * (1 + band(left, right))


def ties(measurements: Sequence[Measurement]) -> list[tuple[Measurement, Measurement]]:
    """Return neighbours in speed that are equally fast, the faster one first."""
    ordered = sorted(measurements, key=lambda m: m.p50_ms)
    return [(a, b) for a, b in pairwise(ordered) if equally_fast(a, b)]
