"""Choice of variant under constraints: one recommendation, the Pareto set, and why each other variant lost."""

from collections.abc import Sequence
from dataclasses import dataclass

from wherry.core.report import Choice, Measurement, Report, WhyNot

_NOISE = 0.02  # relative difference of medians below which two variants count as equally fast


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What a variant must keep to; None asks nothing."""

    max_p90_ms: float | None = None
    max_size_mb: float | None = None
    max_quality_drop: float | None = None
    """Largest loss of the task's metric against the reference, 0 to 1."""


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


def choose(
    candidates: Sequence[Candidate], refused: Sequence[Report] = (), constraints: Constraints | None = None
) -> Choice:
    """Return the fastest variant that keeps to the constraints; of equally fast ones the more accurate, then smaller.

    Args:
        candidates: proven variants, measured side by side on the machine in question.
        refused: reports of variants that failed their proof; they appear among the why-nots.
        constraints: what must hold.
    """
    limits = constraints or Constraints()
    why_nots = [WhyNot(target=r.target, reason=f"failed its proof: {'; '.join(r.reasons)}") for r in refused]
    fitting = []
    for candidate in candidates:
        void = candidate.measurement.void
        broken = f"its measurement is void: {void}" if void else _broken(candidate, limits)
        if broken:
            why_nots.append(WhyNot(target=candidate.target, reason=broken))
        else:
            fitting.append(candidate)
    if not fitting:
        reason = "no proven variant keeps to the constraints"
        return Choice(target=None, reason=reason, pareto=(), why_nots=tuple(why_nots), measured=bool(candidates))
    fastest = min(candidate.measurement.p50_ms for candidate in fitting)
    best = min((c for c in fitting if c.measurement.p50_ms <= fastest * (1 + _NOISE)), key=_tie_break)
    why_nots += [WhyNot(target=c.target, reason=_why_lost(c, best)) for c in fitting if c is not best]
    return Choice(
        target=best.target,
        reason=_why_won(best),
        pareto=tuple(c.target for c in fitting if not any(_dominates(other, c) for other in fitting)),
        why_nots=tuple(why_nots),
        measured=True,
    )


def _broken(candidate: Candidate, limits: Constraints) -> str | None:
    numbers = candidate.measurement
    slow = numbers.p90_ms if numbers.p90_ms is not None else numbers.p50_ms
    if limits.max_p90_ms is not None and slow > limits.max_p90_ms:
        return f"{slow:.3g} ms is above the limit of {limits.max_p90_ms:g} ms"
    size_mb = numbers.size_bytes / 1e6
    if limits.max_size_mb is not None and size_mb > limits.max_size_mb:
        return f"{size_mb:.3g} MB is above the limit of {limits.max_size_mb:g} MB"
    if limits.max_quality_drop is not None and candidate.quality_drop > limits.max_quality_drop:
        return f"it loses {candidate.quality_drop:.4f}, more than {limits.max_quality_drop:g}"
    return None


def _tie_break(candidate: Candidate) -> tuple[float, int, float]:
    return candidate.quality_drop, candidate.measurement.size_bytes, candidate.measurement.p50_ms


def _why_won(best: Candidate) -> str:
    numbers = best.measurement
    return (
        f"fastest proven variant on {numbers.machine}: median {numbers.p50_ms:.3g} ms for a batch of {numbers.batch}, "
        f"{numbers.size_bytes / 1e6:.3g} MB, quality drop {best.quality_drop:.4f}"
    )


def _why_lost(loser: Candidate, best: Candidate) -> str:
    ratio = loser.measurement.p50_ms / best.measurement.p50_ms
    if ratio > 1 + _NOISE:
        return f"{ratio:.2f}x the time of {best.target}"
    if loser.quality_drop > best.quality_drop:
        return f"as fast as {best.target}, but it loses {loser.quality_drop - best.quality_drop:.4f} more quality"
    if loser.measurement.size_bytes > best.measurement.size_bytes:
        return f"as fast as {best.target} within noise, but larger"
    return f"equal to {best.target} within noise"


def _dominates(left: Candidate, right: Candidate) -> bool:
    a = (left.measurement.p50_ms, left.measurement.size_bytes, left.quality_drop)
    b = (right.measurement.p50_ms, right.measurement.size_bytes, right.quality_drop)
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))
