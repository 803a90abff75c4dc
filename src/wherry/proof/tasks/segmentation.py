"""Segmentation: the answer is the class of each pixel."""

import numpy as np
from numpy.typing import NDArray

from wherry.core.model import ModelSpec
from wherry.proof.interface import Tally, TaskMetric
from wherry.runtime.interface import Array, Tensors
from wherry.runtime.segment import class_map

IGNORE = 255
"""Label of a pixel that does not count, as in PASCAL VOC and Cityscapes."""
_BAND = 2  # pixels to each side of a boundary between classes


class Segmentation(TaskMetric):
    """Agreement of pixels, also near boundaries; mean intersection over union against labels."""

    name = "segmentation"
    quality_name = "miou"

    def check(self, spec: ModelSpec) -> str | None:
        """First output of [batch, classes, height, width], as many class names as classes."""
        shape = spec.outputs[0].shape
        if len(shape) != 4 or not isinstance(shape[1], int):
            return f"a segmentation is [batch, classes, height, width], this output is {list(shape)}"
        expected = {shape[1]} if shape[1] > 1 else {1, 2}
        if spec.class_names and len(spec.class_names) not in expected:
            return f"there are {len(spec.class_names)} class names for {shape[1]} classes"
        return None

    def check_labels(self, labels: Array, spec: ModelSpec) -> str | None:
        """One class index for each pixel of the network's output, or 255."""
        if labels.dtype.kind not in "iu" or labels.ndim != 3:
            return f"labels are [samples, height, width] whole numbers, these are {labels.dtype} {list(labels.shape)}"
        sides = [side for side in spec.outputs[0].shape[2:] if isinstance(side, int)]
        if len(sides) == 2 and list(labels.shape[1:]) != sides:
            return f"labels are {list(labels.shape[1:])} pixels, the output has {sides}"
        classes, used = len(_names(spec)), labels[labels != IGNORE]
        if used.size and (used.min() < 0 or used.max() >= classes):
            return f"labels go from {used.min()} to {used.max()}, and there are {classes} classes"
        return None

    def comparing(self, spec: ModelSpec) -> Tally[Tensors]:
        """Return the share of equal pixels, of all and near boundaries, and the overlap with the reference."""
        return _Likeness(spec.outputs[0].name, len(_names(spec)))

    def scoring(self, spec: ModelSpec) -> Tally[Array]:
        """Return `miou` over the classes that occur, `pixel_accuracy`, and `iou.<class>`."""
        return _Overlap(spec.outputs[0].name, _names(spec))

    def vacuous(self, references: Tensors, spec: ModelSpec) -> str | None:
        """A reference that gives one class to every pixel finds nothing."""
        logits = references[spec.outputs[0].name]
        seen = np.unique(class_map(logits[:1]))
        for start in range(1, len(logits)):
            if len(seen) > 1:
                return None
            seen = np.union1d(seen, class_map(logits[start : start + 1]))
        return None if len(seen) > 1 else "the reference gives the same class to every pixel of every golden input"


class _Likeness(Tally[Tensors]):
    def __init__(self, name: str, classes: int) -> None:
        self._name = name
        self._all, self._near = np.zeros(2, np.int64), np.zeros(2, np.int64)
        self._confusion = np.zeros((classes, classes), np.int64)

    def update(self, outputs: Tensors, other: Tensors) -> None:
        got, want = class_map(outputs[self._name]), class_map(other[self._name])
        same, near = got == want, _band(want)
        self._all += (int(same.sum()), same.size)
        self._near += (int(same[near].sum()), int(near.sum()))
        self._confusion += _confusion(got, want, len(self._confusion))

    def result(self) -> dict[str, float]:
        overlaps = _overlaps(self._confusion)
        found = {
            "agreement": float(self._all[0] / self._all[1]),
            "reference_overlap": float(np.nanmean(overlaps)),
        }
        return found | ({"boundary_agreement": float(self._near[0] / self._near[1])} if self._near[1] else {})


class _Overlap(Tally[Array]):
    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        self._name, self._names = name, names
        self._confusion = np.zeros((len(names), len(names)), np.int64)

    def update(self, outputs: Tensors, other: Array) -> None:
        counted = other != IGNORE
        got = class_map(outputs[self._name])[counted]
        self._confusion += _confusion(got, other[counted], len(self._names))

    def result(self) -> dict[str, float]:
        if not self._confusion.sum():
            return {}
        overlaps = _overlaps(self._confusion)
        of_class = {
            f"iou.{name}": float(overlap)
            for name, overlap in zip(self._names, overlaps, strict=True)
            if np.isfinite(overlap)
        }
        accuracy = float(np.trace(self._confusion) / self._confusion.sum())
        return {"miou": float(np.nanmean(overlaps)), "pixel_accuracy": accuracy} | of_class


def _names(spec: ModelSpec) -> tuple[str, ...]:
    """Return a name for each value of the class map; a single logit tells the foreground from the background."""
    classes = spec.outputs[0].shape[1]
    if classes == 1:
        return (
            spec.class_names if len(spec.class_names) == 2 else ("background", *(spec.class_names or ("foreground",)))
        )
    return spec.class_names or tuple(str(index) for index in range(int(classes)))


def _confusion(got: Array, want: Array, classes: int) -> NDArray[np.int64]:
    """Return how many pixels of class [row] in `want` are class [column] in `got`."""
    pairs = want.astype(np.int64).ravel() * classes + got.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def _overlaps(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return intersection over union of each class; NaN for a class that occurs on neither side."""
    shared = np.diag(confusion).astype(np.float64)
    whole = confusion.sum(axis=0) + confusion.sum(axis=1) - np.diag(confusion)
    overlaps: NDArray[np.float64] = np.divide(shared, whole, out=np.full_like(shared, np.nan), where=whole > 0)
    return overlaps


def _band(maps: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Return which pixels lie within `_BAND` pixels of another class, along rows and columns."""
    near = np.zeros(maps.shape, dtype=np.bool_)
    for step in range(1, _BAND + 1):
        rows, columns = maps[:, step:] != maps[:, :-step], maps[:, :, step:] != maps[:, :, :-step]
        near[:, step:] |= rows
        near[:, :-step] |= rows
        near[:, :, step:] |= columns
        near[:, :, :-step] |= columns
    return near
