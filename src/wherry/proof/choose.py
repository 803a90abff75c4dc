"""Choice of variant under constraints: one recommendation, the Pareto set, and why each other variant lost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from wherry.core.device import DeviceProfile
from wherry.core.report import Choice, Measurement, Report, WhyNot
from wherry.proof.noise import band, equally_fast


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What a variant must keep to; None asks nothing. Latency is of one call of the engine unless said otherwise."""

    max_p50_ms: float | None = None
    max_p90_ms: float | None = None
    max_p95_ms: float | None = None
    max_p99_ms: float | None = None
    max_end_to_end_ms: float | None = None
    """Longest median of a whole call: preprocessing, engine and postprocessing."""
    min_fps: float | None = None
    """Fewest examples a second through whole calls, one after the other."""
    max_size_mb: float | None = None
    """In units of 10^6 bytes."""
    max_memory_mb: float | None = None
    """Largest resident memory of a process that runs only this variant, in units of 10^6 bytes."""
    max_quality_drop: float | None = None
    """Largest loss of the task's metric against the reference, 0 to 1."""
    min_metrics: dict[str, float] = field(default_factory=dict)
    """Least value of numbers of the proof, such as `{"miou": 0.75}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A proven variant with its numbers."""

    report: Report
    measurement: Measurement

    @property
    def target(self) -> str:
        """Name of the target."""
        return self.report.target

    @property
    def quality_drop(self) -> float:
        """Loss of the task's quality against the reference; 0 where it has none."""
        metrics, name = self.report.metrics, self.report.quality
        return 0.0 if name is None else max(metrics[f"reference_{name}"] - metrics[name], 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The machine that the choice is for."""

    machine: str
    """Its name as it stands in measurements."""
    profile: DeviceProfile | None = None
    """What it has, of another machine; None for the one that measures."""


def choose(
    candidates: Sequence[Candidate],
    refused: Sequence[Report] = (),
    constraints: Constraints | None = None,
    *,
    where: Where | None = None,
    left_out: Sequence[WhyNot] = (),
) -> Choice:
    """Return the fastest variant that keeps to the constraints; of equally fast ones the more accurate, then smaller.

    Args:
        candidates: proven variants, measured side by side.
        refused: reports of variants that failed their proof; they appear among the why-nots.
        constraints: what must hold.
        where: the machine that it is for; by default the one that measured.
        left_out: variants without a proof or a measurement.
    """
    limits = constraints or Constraints()
    why_nots = [*left_out]
    why_nots += [WhyNot(target=r.target, reason=f"failed its proof: {'; '.join(r.reasons)}") for r in refused]
    fitting = []
    for candidate in candidates:
        objections = [*_impossible(candidate, where), *_broken(candidate, limits)]
        if objections:
            why_nots.append(WhyNot(target=candidate.target, reason="; ".join(objections)))
        else:
            fitting.append(candidate)
    notes = _notes(candidates, where)
    measured = bool(candidates) and not _foreign(candidates, where)
    if not fitting:
        reason = "no proven variant keeps to the constraints"
        return Choice(target=None, reason=reason, pareto=(), why_nots=tuple(why_nots), measured=measured, notes=notes)
    fastest = min(fitting, key=lambda candidate: candidate.measurement.p50_ms)
    best = min((c for c in fitting if equally_fast(fastest.measurement, c.measurement)), key=_tie_break)
    why_nots += [WhyNot(target=c.target, reason=_why_lost(c, best)) for c in fitting if c is not best]
    return Choice(
        target=best.target,
        reason=_why_won(best),
        pareto=tuple(c.target for c in fitting if not any(_dominates(other, c) for other in fitting)),
        why_nots=tuple(why_nots),
        measured=measured,
        notes=notes,
    )


def _impossible(candidate: Candidate, where: Where | None) -> Iterator[str]:
    numbers = candidate.measurement
    if numbers.void is not None:
        yield f"its measurement is void: {numbers.void}"
    if where is None or where.profile is None:
        return
    if not where.profile.runs(numbers.engine.engine):
        yield f"the runtime {numbers.engine.engine} is not installed on that device"
    memory = where.profile.memory_bytes
    if numbers.peak_memory_mb is not None and 0 < memory < numbers.peak_memory_mb * 2**20:
        yield f"it needs {numbers.peak_memory_mb:.0f} MiB, and that device has {memory / 2**20:.0f}"


def _broken(candidate: Candidate, limits: Constraints) -> Iterator[str]:
    """Yield a sentence for each limit that is missed, or whose number is not there: what is not known is not met."""
    numbers = candidate.measurement
    whole = None if numbers.stages is None else numbers.stages.end_to_end_ms
    memory = None if numbers.peak_memory_mb is None else numbers.peak_memory_mb * 2**20 / 1e6
    upper = (
        ("p50", numbers.p50_ms, limits.max_p50_ms, "ms"),
        ("p90", numbers.p90_ms, limits.max_p90_ms, "ms"),
        ("p95", numbers.p95_ms, limits.max_p95_ms, "ms"),
        ("p99", numbers.p99_ms, limits.max_p99_ms, "ms"),
        ("whole call", whole, limits.max_end_to_end_ms, "ms"),
        ("size", numbers.size_bytes / 1e6, limits.max_size_mb, "MB"),
        ("peak memory", memory, limits.max_memory_mb, "MB"),
    )
    for what, value, limit, unit in upper:
        if limit is not None and value is None:
            yield f"its {what} is not known: measure again, and longer"
        elif limit is not None and value is not None and value > limit:
            yield f"{what} {value:.3g} {unit} is above the limit of {limit:g} {unit}"
    fps = numbers.batch * 1e3 / whole if whole else None
    if limits.min_fps is not None and (fps is None or fps < limits.min_fps):
        yield f"{'an unknown number of' if fps is None else f'{fps:.3g}'} fps is below the limit of {limits.min_fps:g}"
    if limits.max_quality_drop is not None and candidate.quality_drop > limits.max_quality_drop:
        yield f"it loses {_points(candidate.quality_drop)}, more than {_points(limits.max_quality_drop)}"
    for name, least in limits.min_metrics.items():
        value = candidate.report.metrics.get(name)
        if value is None:
            yield f"its proof has no {name}"
        elif value < least:
            yield f"{name} {value:.4f} is below {least:g}"


def _tie_break(candidate: Candidate) -> tuple[float, int, float]:
    return candidate.quality_drop, candidate.measurement.size_bytes, candidate.measurement.p50_ms


def _why_won(best: Candidate) -> str:
    numbers, name = best.measurement, best.report.quality
    quality = "" if name is None else f", {name} {best.report.metrics[name]:.4f} ({_points(best.quality_drop)} lost)"
    return (
        f"fastest proven variant on {numbers.machine}: median {numbers.p50_ms:.3g} ms for a batch of {numbers.batch}, "
        f"{numbers.size_bytes / 1e6:.3g} MB{quality}"
    )


def _why_lost(loser: Candidate, best: Candidate) -> str:
    if not equally_fast(loser.measurement, best.measurement):
        return f"{loser.measurement.p50_ms / best.measurement.p50_ms:.2f}x the time of {best.target}"
    within = f"as fast as {best.target} within the noise of {band(loser.measurement, best.measurement):.1%}"
    if loser.quality_drop > best.quality_drop:
        return f"{within}, but it loses {_points(loser.quality_drop - best.quality_drop)} more"
    if loser.measurement.size_bytes > best.measurement.size_bytes:
        return f"{within}, but larger"
    return f"{within}, and equal in quality and size"


def _points(drop: float) -> str:
    return f"{drop * 100:.3g} points"


def _dominates(left: Candidate, right: Candidate) -> bool:
    a = (left.measurement.p50_ms, left.measurement.size_bytes, left.quality_drop)
    b = (right.measurement.p50_ms, right.measurement.size_bytes, right.quality_drop)
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _foreign(candidates: Sequence[Candidate], where: Where | None) -> list[str]:
    """Return the machines that measured and are not the one in question."""
    machines = dict.fromkeys(c.measurement.machine for c in candidates)
    if where is None:
        return []
    return [machine for machine in machines if machine != where.machine or where.profile is not None]


def _notes(candidates: Sequence[Candidate], where: Where | None) -> tuple[str, ...]:
    notes = []
    foreign = _foreign(candidates, where)
    if foreign and where is not None:
        notes.append(f"Times and memory were measured on {', '.join(foreign)} and not on {where.machine}.")
    if len({c.measurement.run for c in candidates}) > 1:
        notes.append("Not all variants were measured side by side in one run, so small differences may be none.")
    notes += [f"{c.target} was measured without a steady state." for c in candidates if not c.measurement.steady]
    return tuple(notes)
