"""Tallies that several tasks use: means over samples, and a check of class labels."""

from collections.abc import Callable, Mapping

import numpy as np

from wherry.proof.interface import Other, Tally
from wherry.runtime.interface import Array, Tensors


class Means(Tally[Other]):
    """The mean of each number over everything that was measured; a number that was never measured is left out."""

    def __init__(self, measure: Callable[[Tensors, Other], Mapping[str, Array]]) -> None:
        self._measure = measure
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def update(self, outputs: Tensors, other: Other) -> None:
        """Take what `measure` returns for the next samples: one or no value for each of them."""
        for name, values in self._measure(outputs, other).items():
            self._sums[name] = self._sums.get(name, 0.0) + float(np.sum(values, dtype=np.float64))
            self._counts[name] = self._counts.get(name, 0) + values.size

    def result(self) -> dict[str, float]:
        """Return the means."""
        return {name: total / self._counts[name] for name, total in self._sums.items() if self._counts[name]}


def class_labels(labels: Array, classes: int | None) -> str | None:
    """Return why these are not one class index for each sample, or None."""
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        return f"labels are one whole number for each sample, these are {labels.dtype} of shape {list(labels.shape)}"
    if labels.size and (labels.min() < 0 or (classes is not None and labels.max() >= classes)):
        return f"labels go from {labels.min()} to {labels.max()}, and there are {classes} classes"
    return None
