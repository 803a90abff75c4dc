"""The task family: what an answer is, and when two answers agree.

A member turns network outputs into numbers that people of the field use. `agreement` is the share of samples whose
answer is the same; `quality` is the metric against known labels. Members are pure functions of arrays.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wherry.core.model import ModelSpec
from wherry.runtime.interface import Tensors


class TaskMetric(ABC):
    """One task family's metric."""

    name: ClassVar[str]
    quality_name: ClassVar[str | None]
    """Name of the metric against labels, such as `accuracy`; None when the task has none."""

    @abstractmethod
    def check(self, spec: ModelSpec) -> str | None:
        """Return why the spec does not fit this task, or None."""

    @abstractmethod
    def agreement(self, outputs: Tensors, references: Tensors, spec: ModelSpec) -> dict[str, float]:
        """Return numbers that compare answers; must hold `agreement`, 0 to 1."""

    @abstractmethod
    def quality(self, outputs: Tensors, labels: NDArray[np.int64], spec: ModelSpec) -> float | None:
        """Return the metric against the truth, 0 to 1, higher is better; None when the task has none."""

    @abstractmethod
    def vacuous(self, references: Tensors, spec: ModelSpec) -> str | None:
        """Return why agreeing with these references would prove nothing for this task, or None."""
