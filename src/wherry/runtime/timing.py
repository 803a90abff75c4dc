"""Times that can be believed: steady state first, no outlier deleted, percentiles only where there are enough samples.

A percentile is given when at least five samples lie beyond it: p90 from 50 samples on, p95 from 100, p99 from 500.
Below that it would be the name of one or two odd calls. The interval is a bootstrap of the median (Efron 1979,
percentile method), seeded so that equal times give equal intervals.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BEYOND = 5
"""Samples that must lie beyond a percentile."""
ENOUGH = 100
"""Samples that support a p95: what a benchmark tries to reach."""
_WINDOW = 10
_STEADY_CHANGE = 0.05
_MAX_WARMUP_S = 2.0
_SLOW_MS = 50.0
_BOOTSTRAPS = 1000
_LARGEST_RESAMPLE = 500
_KEPT = 400

Times = NDArray[np.float64]
"""Milliseconds of each call, in the order in which they were made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What one series of calls took. Times in milliseconds."""

    batch: int
    """Samples in one call."""
    samples: int
    """Calls that were timed."""
    mean_ms: float
    median_ms: float
    min_ms: float
    max_ms: float
    p90_ms: float | None
    """None where there are too few samples to support it."""
    p95_ms: float | None
    p99_ms: float | None
    ci95_ms: tuple[float, float]
    """Bootstrap interval of the median."""
    throughput_per_s: float
    """Samples (not calls) a second, one call after the other."""
    steady: bool
    """Whether a steady state was seen before timing."""


def summarise(times: Times, *, batch: int, steady: bool) -> Timing:
    """Return the numbers of a series of calls; every call counts."""
    mean = float(times.mean())
    return Timing(
        batch=batch,
        samples=len(times),
        mean_ms=mean,
        median_ms=float(np.median(times)),
        min_ms=float(times.min()),
        max_ms=float(times.max()),
        p90_ms=percentile(times, 90),
        p95_ms=percentile(times, 95),
        p99_ms=percentile(times, 99),
        ci95_ms=median_interval(times),
        throughput_per_s=batch * 1e3 / mean,
        steady=steady,
    )


def percentile(times: Times, rank: float) -> float | None:
    """Return the percentile, or None where fewer than `BEYOND` samples lie beyond it."""
    return float(np.percentile(times, rank)) if len(times) * (100 - rank) >= 100 * BEYOND else None


def median_interval(times: Times) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the median, seeded so that equal times give equal intervals."""
    rng = np.random.default_rng(0)
    sample = times if len(times) <= _LARGEST_RESAMPLE else rng.choice(times, _LARGEST_RESAMPLE, replace=False)
    medians = np.median(rng.choice(sample, (_BOOTSTRAPS, len(sample))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def noise_band(times: Times) -> float | None:
    """Return how far the series is from itself, relative to its median; None for fewer than 20 calls.

    An A/A comparison inside one run: the medians of the first and the second half (drift), and of every other block of
    ten calls (disturbance). The larger difference is the band: two variants that differ by less did not differ.
    """
    if len(times) < 2 * _WINDOW:
        return None
    blocks = np.arange(len(times)) // _WINDOW % 2 == 0
    half = len(times) // 2
    pairs = [(times[:half], times[half:]), (times[blocks], times[~blocks])]
    middle = float(np.median(times))
    return max(abs(float(np.median(a)) - float(np.median(b))) for a, b in pairs) / middle


def quantiles(times: Times) -> tuple[float, ...]:
    """Return the series in rising order for a plot: all of it, or 400 evenly spaced order statistics of more.

    The smallest and the largest are always among them. Rounded to microseconds.
    """
    ordered = np.sort(times)
    if len(ordered) > _KEPT:
        ordered = ordered[np.linspace(0, len(ordered) - 1, _KEPT).round().astype(int)]
    return tuple(round(float(value), 6 if value < 1e-2 else 3) for value in ordered)


def call_ms(call: Callable[[], object]) -> float:
    """Return what one call took, in milliseconds."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def warm_up(call: Callable[[], object]) -> bool:
    """Call until the medians of two windows in a row differ by less than 5 %; give up after two seconds.

    A window is ten calls, or three of a network that needs more than 50 ms; two windows are always compared.
    """
    deadline = time.perf_counter() + _MAX_WARMUP_S
    call()
    window = _WINDOW if call_ms(call) < _SLOW_MS else 3
    previous = _window_ms(call, window)
    while True:
        median = _window_ms(call, window)
        if abs(median - previous) <= _STEADY_CHANGE * median:
            return True
        if time.perf_counter() > deadline:
            return False
        previous = median


def _window_ms(call: Callable[[], object], window: int) -> float:
    return float(np.median([call_ms(call) for _ in range(window)]))


def closed_loop(call: Callable[[], object], *, batch: int, seconds: float) -> Timing:
    """Warm up, then call again and again, each call after the one before has ended, for that time.

    Goes on until `ENOUGH` calls support a p95, for at most twenty times as long as was asked for.
    """
    steady = warm_up(call)
    times: list[float] = []
    started = time.perf_counter()
    while wants_more(time.perf_counter() - started, len(times), seconds):
        times.append(call_ms(call))
    return summarise(np.asarray(times), batch=batch, steady=steady)


def wants_more(spent: float, samples: int, seconds: float) -> bool:
    """Return whether a series that took `spent` seconds so far should go on."""
    return spent < seconds or (samples < ENOUGH and spent < 20 * seconds)
