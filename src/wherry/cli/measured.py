"""Measurements and choices as people read them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherry.cli.output import Sheet
    from wherry.core.report import Choice, Measurement


def bench_table(measurements: "Sequence[Measurement]") -> "Sheet":
    """Return the measurements, fastest first within each batch size and number of threads."""
    from wherry.cli.output import table

    swept = len({(m.batch, m.threads) for m in measurements}) > 1
    rows = []
    for m in sorted(measurements, key=lambda m: (m.threads, m.batch, m.p50_ms)):
        setting = (str(m.batch), str(m.threads or "auto")) if swept else ()
        rows.append((m.target, *setting, *_speed(m), *(() if swept else _cost(m)), _remarks(m)))
    setting = ("batch", "threads") if swept else ()
    alone = () if swept else ("load ms", "peak MiB", "MB")
    speed = ("median ms", "95 % interval", "p95 ms", "whole ms", "per s")
    return table(("variant", *setting, *speed, *alone, "remarks"), rows)


def _speed(m: "Measurement") -> tuple[str, ...]:
    return (
        f"{m.p50_ms:.3f}",
        f"{m.ci95_ms[0]:.3f}-{m.ci95_ms[1]:.3f}",
        "-" if m.p95_ms is None else f"{m.p95_ms:.3f}",
        "-" if m.stages is None else f"{m.stages.end_to_end_ms:.3f}",
        f"{m.throughput_per_s:.0f}",
    )


def _cost(m: "Measurement") -> tuple[str, ...]:
    return (
        f"{m.load_ms:.0f}",
        "-" if m.peak_memory_mb is None else f"{m.peak_memory_mb:.0f}",
        f"{m.size_bytes / 1e6:.2f}",
    )


def _remarks(m: "Measurement") -> str:
    remarks = [] if m.steady else ["no steady state"]
    if m.p95_ms is None:
        remarks.append(f"{m.samples} calls are too few for a p95")
    if m.void is not None:
        remarks.append(f"void: {m.void}")
    return "; ".join(remarks)


def noise_lines(measurements: "Sequence[Measurement]") -> list[str]:
    """Return a sentence for each setting: how large the noise was, and which variants did not differ by more."""
    from wherry.proof.noise import run_band, ties

    lines = []
    for run in dict.fromkeys(m.run for m in measurements):
        side_by_side = [m for m in measurements if m.run == run]
        first = side_by_side[0]
        band = run_band(side_by_side)
        if band is None:
            continue
        where = f"Batch {first.batch}, {first.threads or 'automatic'} threads"
        said = f"{where}: a variant differs from itself by up to {band:.1%} (A/A)"
        pairs = [f"{a.target} and {b.target}" for a, b in ties(side_by_side)]
        lines.append(f"{said}; within that noise lie {', '.join(pairs)}." if pairs else f"{said}.")
    return lines


def choice_lines(choice: "Choice") -> "list[RenderableType]":
    """Return the choice and the why-nots, for people."""
    from wherry.cli.output import table

    head = f"Use {choice.target}: {choice.reason}." if choice.target else f"Nothing fits: {choice.reason}."
    lines: list[RenderableType] = [head]
    if len(choice.pareto) > 1:
        lines.append(f"Nothing beats these in time, size and quality at once: {', '.join(choice.pareto)}.")
    rows = [(why.target, why.reason) for why in choice.why_nots]
    return [*lines, *([table(("not", "because"), rows)] if rows else []), *choice.notes]
