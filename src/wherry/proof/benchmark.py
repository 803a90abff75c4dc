"""Benchmarks that can be believed: steady state first, variants interleaved, no outlier deleted.

What is measured: closed-loop latency of the engine alone, one call after the other; what opening the variant costs, in
a fresh process of its own (`wherry.proof.footprint`); and the stages from raw examples to answers
(`wherry.proof.stages`). Percentiles and the interval are those of `wherry.runtime.timing`.
"""

import platform
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from wherry.core.model import ModelSpec
from wherry.core.report import EngineInfo, Footprint, Measurement, Stages
from wherry.core.variant import Variant
from wherry.proof.footprint import footprint
from wherry.proof.stages import stages
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import Array, Engine, EngineOptions, Tensors
from wherry.runtime.preprocess import prepare
from wherry.runtime.timing import call_ms, noise_band, quantiles, summarise, wants_more, warm_up

_ROUND = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """One variant to be measured."""

    variant: Variant
    main: Path
    options: EngineOptions
    footprint: Footprint | None = None
    """As seen in a process of its own; None measures it in this one, where earlier variants have left their traces."""


@dataclass(slots=True)
class _Series:
    runner: Runner
    engine: Engine
    info: EngineInfo
    footprint: Footprint
    steady: bool
    times_ms: list[float]


def benchmark(
    runners: Sequence[Runner],
    spec: ModelSpec,
    raw: Array,
    *,
    batches: Sequence[int] = (1,),
    seconds: float = 1.0,
    on_variant: Callable[[str], None] | None = None,
) -> list[Measurement]:
    """Measure each variant at each batch size: all variants of one size in turn, a few calls each.

    Args:
        runners: the variants; all are open at once, so that they can be interleaved.
        spec: what they take and give.
        raw: raw examples, first axis the sample; repeated where a batch needs more.
        batches: samples in one call.
        seconds: time to spend on each variant and batch size after it is warm; longer, up to twenty times, where that
            is needed for the hundred calls that support a p95.
        on_variant: told the name of each variant before it is opened.

    Returns:
        One measurement for each batch size and variant, in that order.

    Raises:
        EngineError: a variant cannot be opened or run.
        ToolchainMissingError: its runtime is not installed.
        BadInputError: the examples do not fit the spec.
    """
    series: list[_Series] = []
    found: list[Measurement] = []
    try:
        for runner in runners:
            if on_variant:
                on_variant(runner.variant.name)
            series.append(_open(runner, spec, raw))
        for batch in batches:
            found += _side_by_side(series, spec, np.resize(raw, (batch, *raw.shape[1:])), seconds)
    finally:
        for one in series:
            one.engine.close()
    return found


def _open(runner: Runner, spec: ModelSpec, raw: Array) -> _Series:
    seen, engine = footprint(
        engine_class(runner.variant.engine), runner.main, spec, raw[:1], runner.variant.batch, runner.options
    )
    info = engine.executed(prepare(raw[:1], spec))
    return _Series(runner, engine, info, runner.footprint or seen, steady=False, times_ms=[])


def _side_by_side(series: list[_Series], spec: ModelSpec, raw: Array, seconds: float) -> list[Measurement]:
    inputs, run = prepare(raw, spec), uuid.uuid4().hex[:12]
    for one in series:
        one.times_ms = []
        one.steady = warm_up(partial(one.engine.run, inputs))
    _interleave(series, inputs, seconds)
    apart = [stages(one.engine, spec, raw) for one in series]
    return [_measurement(one, len(raw), run, found) for one, found in zip(series, apart, strict=True)]


def _interleave(series: list[_Series], inputs: Tensors, seconds: float) -> None:
    spent, turn = 0.0, 1
    while series and wants_more(spent / len(series), len(series[0].times_ms), seconds):
        started = time.perf_counter()
        turn = -turn  # each second round backwards, so that who comes after whom does not matter
        for one in series[::turn]:
            call = partial(one.engine.run, inputs)
            one.times_ms.extend(call_ms(call) for _ in range(_ROUND))
        spent += time.perf_counter() - started


def _measurement(one: _Series, batch: int, run: str, apart: Stages) -> Measurement:
    times = np.asarray(one.times_ms)
    timing = summarise(times, batch=batch, steady=one.steady)
    return Measurement(
        variant=one.runner.variant.digest,
        target=one.runner.variant.name,
        machine=machine_name(),
        batch=batch,
        samples=timing.samples,
        p50_ms=timing.median_ms,
        p90_ms=timing.p90_ms,
        p95_ms=timing.p95_ms,
        p99_ms=timing.p99_ms,
        mean_ms=timing.mean_ms,
        min_ms=timing.min_ms,
        max_ms=timing.max_ms,
        ci95_ms=timing.ci95_ms,
        throughput_per_s=timing.throughput_per_s,
        load_ms=one.footprint.load_ms,
        first_ms=one.footprint.first_ms,
        memory_mb=one.footprint.growth_mb,
        peak_memory_mb=one.footprint.peak_mb,
        size_bytes=one.runner.variant.size,
        engine=one.info,
        void=one.info.fallback,
        threads=one.runner.options.threads,
        steady=timing.steady,
        noise=noise_band(times),
        latencies_ms=quantiles(times),
        stages=apart,
        run=run,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def machine_name() -> str:
    """Return the name of this machine as it stands in measurements."""
    return f"{platform.node()} ({platform.machine()}, {platform.system()})"
