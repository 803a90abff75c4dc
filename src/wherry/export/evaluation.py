"""The task's metric of a built file, on examples that calibration has not seen."""

from pathlib import Path
from typing import Any

import numpy as np

from wherry.core.model import ModelSpec
from wherry.export.accuracy import AccuracyGoal
from wherry.proof.golden import load_golden
from wherry.proof.tasks import task_metric
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import Array, Tensors
from wherry.runtime.preprocess import prepare

_STEP = 32  # samples that are in memory as tensors at a time


class Evaluation:
    """Examples with the float network's answers and, where the truth is known, labels.

    With labels the metric is the task's own, and the float network's value of it is what others are compared with.
    Without labels, or for a task that has no quality, it is the share of answers that are the float network's.
    """

    def __init__(self, goal: AccuracyGoal, spec: ModelSpec, *, engine: str, batch: int | None) -> None:
        """Open the examples.

        Args:
            goal: where they are.
            spec: what the network takes and gives.
            engine: member of the engine family that runs the files.
            batch: fixed batch size of the files, or None.

        Raises:
            BadInputError: they cannot be read.
            DigestMismatchError: they are not those that were registered.
        """
        self._examples = load_golden(Path(goal.evaluation), goal.sha256)
        self._spec = spec
        self._engine = engine
        self._batch = batch
        self._task = task_metric(spec.task)
        self.name, self.labelled, self.reference = "agreement", False, 1.0
        if self._examples.labels is not None and self._task.quality_name is not None:
            tally = self._task.scoring(spec)
            found = None if tally is None else self._tallied(tally, self._reference, self._examples.labels)
            if found:
                self.name, self.labelled = self._task.quality_name, True
                self.reference = found[self._task.quality_name]

    def __len__(self) -> int:
        return len(self._examples)

    def metric(self, main: Path) -> float:
        """Return the file's metric, 0 to 1, higher is better; an answer that is no number counts as nothing.

        Raises:
            EngineError: the file does not run.
        """
        with engine_class(self._engine)(main, self._spec, batch=self._batch) as engine:

            def answers(start: int) -> Tensors:
                return engine.run(prepare(np.asarray(self._examples.raw[start : start + _STEP]), self._spec))

            if self.labelled and self._examples.labels is not None:
                found = self._tallied(self._task.scoring(self._spec), answers, self._examples.labels)
            else:
                found = self._tallied(self._task.comparing(self._spec), answers, None)
        value = found.get(self.name, 0.0)
        return value if np.isfinite(value) else 0.0

    def _reference(self, start: int) -> Tensors:
        return {name: np.asarray(array[start : start + _STEP]) for name, array in self._examples.references.items()}

    def _tallied(self, tally: Any, answers: Any, labels: Array | None) -> dict[str, float]:
        for start in range(0, len(self._examples), _STEP):
            other = self._reference(start) if labels is None else labels[start : start + _STEP]
            tally.update(answers(start), other)
        found: dict[str, float] = tally.result()
        return found
