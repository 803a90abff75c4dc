"""A task without a metric of its own: the numeric error is all there is. For tests, dry runs and plain tensors."""

import numpy as np

from wherry.core.model import ModelSpec
from wherry.proof.interface import TaskMetric
from wherry.proof.tally import Means
from wherry.runtime.interface import Array, Tensors


class NullTask(TaskMetric):
    """Agreement is the share of samples whose outputs are all within 1e-2 of their references."""

    name = "null"
    quality_name = None

    def check(self, spec: ModelSpec) -> str | None:
        """Every spec fits."""
        return None

    def check_labels(self, labels: Array, spec: ModelSpec) -> str | None:
        """Nobody looks at them."""
        return None

    def comparing(self, spec: ModelSpec) -> Means[Tensors]:
        """Return the share of samples with all outputs close to their references."""
        return Means(_close)

    def scoring(self, spec: ModelSpec) -> None:
        """There is no truth to compare with."""
        return

    def vacuous(self, references: Tensors, spec: ModelSpec) -> str | None:
        """Nothing beyond what the comparison of outputs finds."""
        return None


def _close(outputs: Tensors, references: Tensors) -> dict[str, Array]:
    close = [
        np.isclose(outputs[name], reference, atol=1e-2, rtol=1e-2).reshape(len(reference), -1).all(axis=1)
        for name, reference in references.items()
    ]
    return {"agreement": np.logical_and.reduce(close)}
