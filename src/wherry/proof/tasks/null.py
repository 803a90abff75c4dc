"""A task without a metric of its own: the numeric error is all there is. For tests, dry runs and plain tensors."""

import numpy as np
from numpy.typing import NDArray

from wherry.core.model import ModelSpec
from wherry.proof.interface import TaskMetric
from wherry.runtime.interface import Tensors


class NullTask(TaskMetric):
    """Agreement is the share of samples whose outputs are numerically close."""

    name = "null"
    quality_name = None

    def check(self, spec: ModelSpec) -> str | None:
        """Every spec fits."""
        return None

    def agreement(self, outputs: Tensors, references: Tensors, spec: ModelSpec) -> dict[str, float]:
        """Return the share of samples with all outputs within 1e-2 of their references."""
        close = [
            np.isclose(outputs[name], reference, atol=1e-2, rtol=1e-2).reshape(len(reference), -1).all(axis=1)
            for name, reference in references.items()
        ]
        return {"agreement": float(np.logical_and.reduce(close).mean())}

    def quality(self, outputs: Tensors, labels: NDArray[np.int64], spec: ModelSpec) -> float | None:
        """There is no truth to compare with."""
        return None

    def vacuous(self, references: Tensors, spec: ModelSpec) -> str | None:
        """Nothing beyond what `compare.vacuous` finds."""
        return None
