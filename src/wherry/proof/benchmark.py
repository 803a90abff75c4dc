"""Benchmarks that can be believed: steady state first, variants interleaved, no outlier deleted.

Percentiles appear only where the number of samples supports them: p90 from 20 on, p99 from 500 on (at least five
samples beyond the percentile). The interval is a bootstrap of the median (Efron 1979, percentile method).
"""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wherry.core.model import ModelSpec
from wherry.core.report import Measurement
from wherry.core.variant import Variant
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import Engine, EngineOptions, Tensors

_WINDOW = 10
_STEADY_CHANGE = 0.05
_MAX_WARMUP_S = 2.0
_ROUND = 5
_MIN_P90 = 20
_MIN_P99 = 500
_BOOTSTRAPS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """One variant to be measured."""

    variant: Variant
    main: Path
    options: EngineOptions


@dataclass(slots=True)
class _Series:
    runner: Runner
    engine: Engine
    load_ms: float
    rss_mb: float
    steady: bool
    times_ms: list[float]


def benchmark(
    runners: Sequence[Runner],
    spec: ModelSpec,
    inputs: Tensors,
    *,
    seconds: float = 1.0,
    on_variant: Callable[[str], None] | None = None,
) -> list[Measurement]:
    """Measure `engine.run(inputs)` for each variant, in turn, a few calls each, until the time is used up.

    Args:
        runners: the variants; all are open at once, so that they can be interleaved.
        spec: what they take and give.
        inputs: prepared tensors; the first axis is the batch.
        seconds: time to spend on each variant after it is warm.
        on_variant: told the name of each variant before it is opened.

    Raises:
        EngineError: a variant cannot be opened or run.
        ToolchainMissingError: its runtime is not installed.
    """
    series: list[_Series] = []
    try:
        for runner in runners:
            if on_variant:
                on_variant(runner.variant.name)
            series.append(_open(runner, spec, inputs))
        _interleave(series, inputs, seconds)
    finally:
        for one in series:
            one.engine.close()
    batch = len(next(iter(inputs.values())))
    return [_measurement(one, batch) for one in series]


def _open(runner: Runner, spec: ModelSpec, inputs: Tensors) -> _Series:
    before = _rss_mb()
    started = time.perf_counter()
    kind = engine_class(runner.variant.engine)
    engine = kind(runner.main, spec, batch=runner.variant.batch, options=runner.options)
    load_ms = (time.perf_counter() - started) * 1e3
    steady = _warm_up(engine, inputs)
    return _Series(runner, engine, load_ms, max(_rss_mb() - before, 0.0), steady, [])


def _warm_up(engine: Engine, inputs: Tensors) -> bool:
    """Run until the medians of two windows in a row differ by less than 5 %; give up after two seconds."""
    deadline = time.perf_counter() + _MAX_WARMUP_S
    previous = float("inf")
    while time.perf_counter() < deadline:
        median = float(np.median([_call_ms(engine, inputs) for _ in range(_WINDOW)]))
        if abs(median - previous) <= _STEADY_CHANGE * median:
            return True
        previous = median
    return False


def _interleave(series: list[_Series], inputs: Tensors, seconds: float) -> None:
    spent = 0.0
    while spent < seconds * len(series):
        started = time.perf_counter()
        for one in series:
            one.times_ms.extend(_call_ms(one.engine, inputs) for _ in range(_ROUND))
        spent += time.perf_counter() - started


def _call_ms(engine: Engine, inputs: Tensors) -> float:
    started = time.perf_counter()
    engine.run(inputs)
    return (time.perf_counter() - started) * 1e3


def _measurement(one: _Series, batch: int) -> Measurement:
    times = np.asarray(one.times_ms)
    mean = float(times.mean())
    return Measurement(
        variant=one.runner.variant.digest,
        target=one.runner.variant.name,
        machine=f"{platform.node()} ({platform.machine()}, {platform.system()})",
        batch=batch,
        samples=len(times),
        p50_ms=float(np.median(times)),
        p90_ms=float(np.percentile(times, 90)) if len(times) >= _MIN_P90 else None,
        p99_ms=float(np.percentile(times, 99)) if len(times) >= _MIN_P99 else None,
        mean_ms=mean,
        ci95_ms=median_interval(times),
        throughput_per_s=batch * 1e3 / mean,
        load_ms=one.load_ms,
        memory_mb=one.rss_mb,
        size_bytes=one.runner.variant.size,
        engine=one.engine.info(),
        steady=one.steady,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def median_interval(times: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the median, seeded so that equal times give equal intervals."""
    rng = np.random.default_rng(0)
    sample = times if len(times) <= _MIN_P99 else rng.choice(times, _MIN_P99, replace=False)
    medians = np.median(rng.choice(sample, (_BOOTSTRAPS, len(sample))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def _rss_mb() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**20
