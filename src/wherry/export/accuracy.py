"""Accuracy control: layers return to float, worst first, until the task's metric has dropped by no more than allowed.

The search knows nothing of formats: it is given how to build a file with some layers left in float, how to measure one,
and how to rank the layers by the damage that eight bits do to each. It returns layers in growing numbers, 1, 2, 4 and
so on, until the metric is good enough, and then halves back to the smallest number that still is. What NNCF calls
accuracy control returns one layer at a time and measures after each; on a network of a hundred layers that is a
hundred measurements, and this is a dozen.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

F = TypeVar("F")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyGoal:
    """How much of the task's metric an eight-bit variant may lose, and where that is measured."""

    evaluation: str
    """Path of the examples, in the golden set's format; none of them may be in the calibration set."""
    sha256: str
    """Digest of that file."""
    max_drop: float = 0.01
    """Largest drop of the metric, which goes from 0 to 1."""
    time_budget_s: float = 600.0
    """Seconds after which the search takes the best that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One file that was built and measured."""

    left_in_float: int
    """How many layers."""
    metric: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[F]):
    """What the search ended with."""

    file: F
    left_in_float: tuple[str, ...]
    """The layers, worst first."""
    metric_before: float
    """With every layer in eight bits."""
    metric: float
    met: bool
    """Whether the drop is within the goal."""
    out_of_time: bool
    trials: tuple[Trial, ...]
    seconds: float


def control(
    build: Callable[[Sequence[str]], F],
    measure: Callable[[F], float],
    rank: Callable[[], Sequence[str]],
    *,
    reference: float,
    goal: AccuracyGoal,
    clock: Callable[[], float] = time.monotonic,
) -> Found[F]:
    """Return the file with the fewest layers in float whose metric is within the goal, or the best one found.

    A network with every layer in float is no answer: one layer at least stays in eight bits.

    Args:
        build: makes a file with these layers in float.
        measure: returns a file's metric, 0 to 1, higher is better.
        rank: returns the layers, the most damaged first; only called when eight bits alone are not good enough.
        reference: the float network's metric.
        goal: what is allowed; only `max_drop` and `time_budget_s` are looked at.
        clock: seconds, for tests.
    """
    return _Search(build, measure, reference, goal, clock).run(rank)


class _Search(Generic[F]):
    def __init__(
        self,
        build: Callable[[Sequence[str]], F],
        measure: Callable[[F], float],
        reference: float,
        goal: AccuracyGoal,
        clock: Callable[[], float],
    ) -> None:
        self._build = build
        self._measure = measure
        self._least = reference - goal.max_drop
        self._clock = clock
        self._started = clock()
        self._deadline = self._started + goal.time_budget_s
        self._ranked: Sequence[str] = ()
        self._trials: list[Trial] = []
        self._files: dict[int, F] = {}

    def run(self, rank: Callable[[], Sequence[str]]) -> Found[F]:
        count = 0
        if not self._good(0):
            self._ranked = tuple(rank())
            count = self._smallest(*self._grow())
        metric = next(trial.metric for trial in self._trials if trial.left_in_float == count)
        return Found(
            file=self._files[count],
            left_in_float=tuple(self._ranked[:count]),
            metric_before=self._trials[0].metric,
            metric=metric,
            met=self._within(metric),
            out_of_time=self._clock() >= self._deadline,
            trials=tuple(self._trials),
            seconds=round(self._clock() - self._started, 3),
        )

    def _grow(self) -> tuple[int, int | None]:
        """Return the largest number that is not good enough, and the first that is, or None."""
        bad, most = 0, len(self._ranked) - 1
        while bad < most and self._clock() < self._deadline:
            count = min(bad * 2 or 1, most)
            if self._good(count):
                return bad, count
            bad = count
        return bad, None

    def _smallest(self, bad: int, good: int | None) -> int:
        if good is None:
            return max(self._trials, key=lambda trial: (trial.metric, -trial.left_in_float)).left_in_float
        while good - bad > 1 and self._clock() < self._deadline:
            middle = (bad + good) // 2
            if self._good(middle):
                good = middle
            else:
                bad = middle
        return good

    def _good(self, count: int) -> bool:
        file = self._build(self._ranked[:count])
        metric = self._measure(file)
        self._files[count] = file
        self._trials.append(Trial(left_in_float=count, metric=metric))
        return self._within(metric)

    def _within(self, metric: float) -> bool:
        return metric >= self._least - 1e-9  # a drop of exactly what is allowed is allowed, whatever floats make of it
