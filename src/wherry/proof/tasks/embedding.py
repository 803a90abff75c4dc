"""Embedding: the answer is a direction; two are the same when they point the same way."""

import numpy as np
from numpy.typing import NDArray

from wherry.core.model import ModelSpec
from wherry.proof.interface import Tally, TaskMetric
from wherry.proof.tally import class_labels
from wherry.runtime.interface import Array, Tensors

SAME = 0.97
"""Cosine from which two embeddings count as one: noise of 12 dB, where int8 may arrive after fifty layers."""
_ONE_DIRECTION = 0.99999


class Embedding(TaskMetric):
    """Cosine of each sample, normalised squared error; nearest neighbours against labels."""

    name = "embedding"
    quality_name = "knn_accuracy"

    def check(self, spec: ModelSpec) -> str | None:
        """First output of [batch, dimensions]."""
        shape = spec.outputs[0].shape
        return None if len(shape) == 2 else f"an embedding is [batch, dimensions], this output is {list(shape)}"

    def check_labels(self, labels: Array, spec: ModelSpec) -> str | None:
        """One class index for each sample."""
        return class_labels(labels, None)

    def comparing(self, spec: ModelSpec) -> Tally[Tensors]:
        """Return the share of samples above `SAME`, mean and smallest cosine, and the normalised squared error."""
        return _Directions(spec.outputs[0].name)

    def scoring(self, spec: ModelSpec) -> Tally[Array]:
        """Return how often the nearest other sample by cosine has the same label (leave-one-out, k = 1)."""
        return _Neighbours(spec.outputs[0].name)

    def vacuous(self, references: Tensors, spec: ModelSpec) -> str | None:
        """References that all point in one direction tell no two inputs apart."""
        units = _units(references[spec.outputs[0].name])
        if len(units) > 1 and float((units @ units[0]).min()) > _ONE_DIRECTION:
            return "the reference gives every golden input the same direction"
        return None


class _Directions(Tally[Tensors]):
    def __init__(self, name: str) -> None:
        self._name = name
        self._cosines: list[NDArray[np.float64]] = []
        self._error = self._signal = 0.0

    def update(self, outputs: Tensors, other: Tensors) -> None:
        got, want = outputs[self._name], other[self._name]
        self._cosines.append(np.clip((_units(got) * _units(want)).sum(axis=1), -1.0, 1.0))
        self._error += float(np.sum((got.astype(np.float64) - want.astype(np.float64)) ** 2))
        self._signal += float(np.sum(want.astype(np.float64) ** 2))

    def result(self) -> dict[str, float]:
        cosines = np.concatenate(self._cosines)
        return {
            "agreement": float((cosines >= SAME).mean()),
            "cosine_mean": float(cosines.mean()),
            "cosine_min": float(cosines.min()),
            "nmse": self._error / self._signal if self._signal else float(self._error > 0.0),
        }


class _Neighbours(Tally[Array]):
    def __init__(self, name: str) -> None:
        self._name = name
        self._units: list[NDArray[np.float64]] = []
        self._labels: list[Array] = []

    def update(self, outputs: Tensors, other: Array) -> None:
        self._units.append(_units(outputs[self._name]))
        self._labels.append(other)

    def result(self) -> dict[str, float]:
        units, labels = np.concatenate(self._units), np.concatenate(self._labels)
        if len(units) < 2:
            return {}
        likeness = units @ units.T
        np.fill_diagonal(likeness, -np.inf)
        return {"knn_accuracy": float((labels[likeness.argmax(axis=1)] == labels).mean())}


def _units(vectors: Array) -> NDArray[np.float64]:
    flat = vectors.reshape(len(vectors), -1).astype(np.float64)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    units: NDArray[np.float64] = np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 0)
    return units
