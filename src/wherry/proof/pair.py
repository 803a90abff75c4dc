"""Two opened variants on the same raw examples: do their answers agree, and which one is faster."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wherry.core.comparison import Speed
from wherry.core.errors import BadInputError, WherryError
from wherry.core.model import ModelSpec
from wherry.core.report import EngineInfo
from wherry.proof.chunks import chunk_size
from wherry.proof.golden import GoldenSet, load_golden
from wherry.proof.interface import Tally
from wherry.proof.noise import FLOOR
from wherry.proof.tasks import task_metric
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import Array, Engine, EngineOptions, Tensors
from wherry.runtime.postprocess import softmax
from wherry.runtime.preprocess import prepare
from wherry.runtime.timing import call_ms, median_interval, noise_band, wants_more, warm_up

_ROUND = 5
_BOOTSTRAPS = 1000
_WITH_CONFIDENCE = ("classification", "policy_value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """One of the two, by path."""

    main: str
    engine: str
    batch: int | None
    spec: ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PairJob:
    """What to compare on which examples."""

    left: Half
    right: Half
    sets: tuple[tuple[str, str], ...]
    """Path and sha256 of golden sets; their labels are in the form of the right one."""
    seconds: float = 1.0
    """Time for each of them once it is warm."""
    threads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """What the two did."""

    examples: int
    agreement: dict[str, float]
    mean_confidence_drift: float | None
    max_confidence_drift: float | None
    quality: str | None
    left_quality: float | None
    right_quality: float | None
    input_difference: float | None
    left_ms: float
    left_ci95: tuple[float, float]
    right_ms: float
    right_ci95: tuple[float, float]
    speed: Speed
    left_engine: EngineInfo
    right_engine: EngineInfo
    notes: tuple[str, ...]


def compare_pair(job: PairJob) -> PairResult:
    """Run both on the same raw examples, then call them in turn.

    Raises:
        BadInputError: a set cannot be read, or one of the two cannot take its examples.
        EngineError: one of the two cannot be opened or run.
        ToolchainMissingError: its runtime is not installed.
    """
    with (
        _open(job.left, job.threads) as left,
        _open(job.right, job.threads) as right,
        _open(job.left, job.threads) as again,
    ):
        answers = _Answers(left, right)
        for path, sha256 in job.sets:
            # Golden inputs may be among the evaluation examples: the metric is of the latter where there are any.
            answers.read(load_golden(Path(path), sha256), score=(path, sha256) == job.sets[-1])
        first = load_golden(Path(job.sets[0][0]), job.sets[0][1]).raw[:1]
        times = _times((left, right, again), first, job.seconds)
        return _result(answers, times, left, right)


def _open(half: Half, threads: int) -> Engine:
    return engine_class(half.engine)(
        Path(half.main), half.spec, batch=half.batch, options=EngineOptions(threads=threads)
    )


class _Answers:
    """The answers of both, gathered chunk by chunk."""

    def __init__(self, left: Engine, right: Engine) -> None:
        self.left, self.right = left, right
        task = task_metric(right.spec.task)
        self.note = _incomparable(left.spec, right.spec)
        self.quality = task.quality_name
        self._comparing: Tally[Tensors] = task.comparing(right.spec)
        self._scores = task.scoring(right.spec), task.scoring(right.spec)
        self.examples = 0
        self.input_difference: float | None = 0.0
        self._drifts: list[NDArray[np.float64]] = []
        self._labelled = False

    def read(self, examples: GoldenSet, *, score: bool) -> None:
        """Let both answer a set; `score` takes its labels for the metric."""
        size = chunk_size(examples.raw[0].nbytes * 8)
        for start in range(0, len(examples), size):
            part = slice(start, start + size)
            labels = examples.labels[part] if score and examples.labels is not None else None
            self._update(examples.raw[part], labels)

    def _update(self, raw: Array, labels: Array | None) -> None:
        ready = [self._prepared(engine, raw) for engine in (self.left, self.right)]
        self._compare_inputs(ready[0], ready[1])
        got, want = self.left.run(ready[0]), self.right.run(ready[1])
        self.examples += len(raw)
        if self.note is None:
            aligned = _aligned(got, self.left.spec, self.right.spec)
            self._comparing.update(aligned, want)
            self._drifts.extend(_drift(aligned, want, self.right.spec))
            if labels is not None:
                self._labelled = True
                for tally, outputs in zip(self._scores, (aligned, want), strict=True):
                    if tally is not None:
                        tally.update(outputs, labels)

    def _prepared(self, engine: Engine, raw: Array) -> Tensors:
        try:
            return prepare(raw, engine.spec)
        except WherryError as error:
            side = "first" if engine is self.left else "second"
            msg = f"The {side} of the two cannot take the examples of the second: {error.message}"
            raise BadInputError(msg, next_step="Compare versions that take the same kind of raw example.") from error

    def _compare_inputs(self, left: Tensors, right: Tensors) -> None:
        (a,), (b,) = left.values(), right.values()
        if a.shape != b.shape or self.input_difference is None:
            self.input_difference = None
            return
        furthest = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
        self.input_difference = max(self.input_difference, furthest)

    def agreement(self) -> dict[str, float]:
        """Return the task's numbers."""
        return {} if self.note else self._comparing.result()

    def drift(self) -> tuple[float, float] | None:
        """Return mean and largest absolute difference of the confidence, or None."""
        if not self._drifts:
            return None
        drifts = np.concatenate(self._drifts)
        return float(drifts.mean()), float(drifts.max())

    def qualities(self) -> tuple[float | None, float | None]:
        """Return the task's metric of both, or None without labels."""
        if not self._labelled or self.quality is None:
            return None, None
        left, right = (None if tally is None else tally.result().get(self.quality) for tally in self._scores)
        return left, right


def _incomparable(left: ModelSpec, right: ModelSpec) -> str | None:
    """Return why the answers have no common form, or None."""
    if left.task != right.task:
        return f"One is for {left.task}, the other for {right.task}: their answers are not compared."
    shapes = [[tensor.shape[1:] for tensor in spec.outputs] for spec in (left, right)]
    if shapes[0] != shapes[1]:
        return f"The outputs are shaped {shapes[0]} and {shapes[1]}: their answers are not compared."
    if left.class_names and right.class_names and set(left.class_names) != set(right.class_names):
        return "They know different classes: their answers are not compared."
    return None


def _aligned(outputs: Tensors, left: ModelSpec, right: ModelSpec) -> Tensors:
    """Return the outputs under the right one's names, with their classes in its order."""
    named = {b.name: outputs[a.name] for a, b in zip(left.outputs, right.outputs, strict=True)}
    if left.class_names == right.class_names or not left.class_names or not right.class_names:
        return named
    order = [left.class_names.index(name) for name in right.class_names]
    scores = right.outputs[1 if right.task == "detection" else 0].name
    return {**named, scores: named[scores][:, order]}


def _drift(got: Tensors, want: Tensors, spec: ModelSpec) -> Iterator[NDArray[np.float64]]:
    if spec.task not in _WITH_CONFIDENCE:
        return
    left, right = (softmax(tensors[spec.outputs[0].name]).astype(np.float64) for tensors in (got, want))
    rows = np.arange(len(right))
    best = right.argmax(axis=1)
    yield np.abs(left[rows, best] - right[rows, best])


def _times(engines: Sequence[Engine], raw: Array, seconds: float) -> NDArray[np.float64]:
    """Return the milliseconds of every call, (engines, rounds, calls in a round): in turn, each second round backwards.

    Who comes after whom must not matter: a cache that the one before has filled or emptied.
    """
    calls = [partial(engine.run, prepare(raw, engine.spec)) for engine in engines]
    for call in calls:
        warm_up(call)
    rounds: list[list[list[float]]] = []
    spent = 0.0
    while wants_more(spent / 1e3 / len(calls), len(rounds) * _ROUND, seconds):
        step = 1 if len(rounds) % 2 else -1
        found = [[call_ms(call) for _ in range(_ROUND)] for call in calls[::step]]
        rounds.append(found[::step])
        spent += float(np.sum(found))
    return np.asarray(rounds).transpose(1, 0, 2)


def speed_of(times: NDArray[np.float64]) -> Speed:
    """Return how much faster the second is, from the times (3, rounds, calls in a round) of both and the first again.

    The interval is a bootstrap over rounds: both sides of a round are drawn together, so that a disturbance of the
    machine that hit both does not look like a difference. The noise is what the first one differs from itself: opened a
    second time (where its memory lies is luck), and between the halves of the run.
    """
    first, second, again = times
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(first), (_BOOTSTRAPS, len(first)))
    ratios = np.array([np.median(first[rows]) / np.median(second[rows]) for rows in drawn])
    low, high = (float(value) for value in np.percentile(ratios, [2.5, 97.5]))
    ratio = float(np.median(first) / np.median(second))
    itself = _apart(float(np.median(first) / np.median(again)))
    noise = max(itself, *(noise_band(side.ravel()) or 0.0 for side in (first, second)))
    same = low <= 1.0 <= high or _apart(ratio) <= max(noise, FLOOR)
    return Speed(ratio=ratio, ci95=(low, high), noise=noise, same=same, calls=first.size)


def _apart(ratio: float) -> float:
    return max(ratio, 1 / ratio) - 1


def _result(answers: _Answers, times: NDArray[np.float64], left: Engine, right: Engine) -> PairResult:
    drift, qualities = answers.drift(), answers.qualities()
    return PairResult(
        examples=answers.examples,
        agreement=answers.agreement(),
        mean_confidence_drift=None if drift is None else drift[0],
        max_confidence_drift=None if drift is None else drift[1],
        quality=answers.quality if qualities[1] is not None else None,
        left_quality=qualities[0],
        right_quality=qualities[1],
        input_difference=answers.input_difference,
        left_ms=float(np.median(times[0])),
        left_ci95=median_interval(times[0].ravel()),
        right_ms=float(np.median(times[1])),
        right_ci95=median_interval(times[1].ravel()),
        speed=speed_of(times),
        left_engine=left.info(),
        right_engine=right.info(),
        notes=() if answers.note is None else (answers.note,),
    )
