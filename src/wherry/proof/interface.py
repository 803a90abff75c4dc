"""The task family: what an answer is, and when two answers agree.

A member turns network outputs into numbers that people of the field use. `agreement` is the share of answers that are
the same; quality is measured against known labels. Both are tallies that take a run chunk by chunk, because the outputs
of a whole evaluation set may not fit into memory.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar, final

from wherry.core.model import ModelSpec
from wherry.runtime.interface import Array, Tensors

Other = TypeVar("Other")


class Tally(ABC, Generic[Other]):
    """Numbers of a run, gathered chunk by chunk; `Other` is what the outputs are held against."""

    @abstractmethod
    def update(self, outputs: Tensors, other: Other) -> None:
        """Take the next samples; the first axis of every array is the sample."""

    @abstractmethod
    def result(self) -> dict[str, float]:
        """Return the numbers of all samples so far."""


class TaskMetric(ABC):
    """One task family's metric."""

    name: ClassVar[str]
    quality_name: ClassVar[str | None]
    """Name of the number against labels that gates, such as `accuracy`; None when the task has none."""

    @abstractmethod
    def check(self, spec: ModelSpec) -> str | None:
        """Return why the spec does not fit this task, or None."""

    @abstractmethod
    def check_labels(self, labels: Array, spec: ModelSpec) -> str | None:
        """Return why these labels are none of this task, or None."""

    @abstractmethod
    def comparing(self, spec: ModelSpec) -> Tally[Tensors]:
        """Return a tally against reference outputs; its result holds `agreement`, 0 to 1."""

    @abstractmethod
    def scoring(self, spec: ModelSpec) -> Tally[Array] | None:
        """Return a tally against labels; its result holds `quality_name`, 0 to 1, higher is better.

        None when the task has no quality; an empty result when the labels decide nothing.
        """

    @abstractmethod
    def vacuous(self, references: Tensors, spec: ModelSpec) -> str | None:
        """Return why agreeing with these references would prove nothing for this task, or None."""

    @final
    def agreement(self, outputs: Tensors, references: Tensors, spec: ModelSpec) -> dict[str, float]:
        """Return numbers that compare the answers of two runs; they hold `agreement`, 0 to 1."""
        tally = self.comparing(spec)
        tally.update(outputs, references)
        return tally.result()

    @final
    def quality(self, outputs: Tensors, labels: Array, spec: ModelSpec) -> dict[str, float] | None:
        """Return numbers against the truth, `quality_name` among them; None when there are none."""
        tally = self.scoring(spec)
        if tally is None:
            return None
        tally.update(outputs, labels)
        return tally.result() or None
