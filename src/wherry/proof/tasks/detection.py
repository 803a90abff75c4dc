"""Detection: the answer is a set of boxes with classes, after threshold and suppression."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wherry.core.model import ModelSpec
from wherry.proof.average_precision import MOST, AveragePrecision
from wherry.proof.interface import Tally, TaskMetric
from wherry.runtime.detect import Found, box_iou, decode, masks_of
from wherry.runtime.interface import Array, Tensors

_SAME_BOX = 0.5  # overlap from which two boxes are one, as in PASCAL VOC
_HAIR = 0.8  # share of the threshold that a partner's score must have: who crosses it by a hair is still there
_FAINT = 0.001  # smallest score that counts for average precision, as COCO evaluations use it


class Detecting(TaskMetric):
    """Matched boxes, their overlap, drift of scores, masks; average precision against labels."""

    name = "detection"
    quality_name = "map"

    def check(self, spec: ModelSpec) -> str | None:
        """Outputs [batch, 4, anchors], [batch, classes, anchors], and for masks coefficients and prototypes."""
        shapes = [tensor.shape for tensor in spec.outputs]
        if len(shapes) not in (2, 4) or [len(shape) for shape in shapes] != [3, 3, 3, 4][: len(shapes)]:
            return f"a detector gives boxes and scores, and with masks coefficients and prototypes; these are {shapes}"
        if shapes[0][1] != 4 or not isinstance(shapes[1][1], int):
            return f"boxes are [batch, 4, anchors] and scores [batch, classes, anchors], these are {shapes[:2]}"
        if spec.class_names and len(spec.class_names) != shapes[1][1]:
            return f"there are {len(spec.class_names)} class names for {shapes[1][1]} classes"
        return None

    def check_labels(self, labels: Array, spec: ModelSpec) -> str | None:
        """[samples, most, 5] of class, x1, y1, x2, y2; class -1 where there is nothing."""
        if labels.dtype.kind not in "iuf" or labels.ndim != 3 or labels.shape[2] != 5:
            return f"labels are [samples, most, 5], these are {labels.dtype} of shape {list(labels.shape)}"
        classes = spec.outputs[1].shape[1]
        kinds = labels[..., 0]
        if kinds.size and (kinds.min() < -1 or (isinstance(classes, int) and kinds.max() >= classes)):
            return f"labels go from {kinds.min():g} to {kinds.max():g}, and there are {classes} classes"
        return None

    def comparing(self, spec: ModelSpec) -> Tally[Tensors]:
        """Return how the detections of the two runs match, at the spec's confidence.

        `agreement` is the mean over images of `2 x matched / (both sides)`; images without a detection on either side
        are left out. Two match with one class and an overlap of at least 0.5, each with at most one.
        """
        return _Matches(spec)

    def scoring(self, spec: ModelSpec) -> Tally[Array]:
        """Return `map` (COCO, overlap 0.50 to 0.95) and `map50`."""
        return _Precision(spec)

    def vacuous(self, references: Tensors, spec: ModelSpec) -> str | None:
        """A reference that finds nothing agrees with everything that finds nothing."""
        if not any(len(found) for found in decode(references, spec)):
            return f"the reference finds nothing in any golden input at confidence {spec.detection.confidence:g}"
        return None


class _Matches(Tally[Tensors]):
    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._agreements: list[float] = []
        self._parity: list[bool] = []
        self._overlaps: list[float] = []
        self._drifts: list[float] = []
        self._masks: list[float] = []

    def update(self, outputs: Tensors, other: Tensors) -> None:
        confidence = self._spec.detection.confidence
        loose = replace(self._spec.detection, confidence=confidence * _HAIR)
        got, want = (decode(tensors, self._spec, loose) for tensors in (outputs, other))
        for row, (left, right) in enumerate(zip(got, want, strict=True)):
            counts = int((left.scores >= confidence).sum()), int((right.scores >= confidence).sum())
            self._parity.append(counts[0] == counts[1])
            pairs = _pairs(left, right, confidence)
            sure = (left.scores[pairs[:, 0]] >= confidence).sum() + (right.scores[pairs[:, 1]] >= confidence).sum()
            if sum(counts):
                self._agreements.append(float(sure) / sum(counts))
            overlaps = box_iou(left.boxes, right.boxes)[pairs[:, 0], pairs[:, 1]]
            self._overlaps.extend(overlaps.tolist())
            self._drifts.extend((left.scores[pairs[:, 0]] - right.scores[pairs[:, 1]]).tolist())
            self._masks.extend(self._mask_overlaps(outputs, other, row, (left, right), pairs))

    def result(self) -> dict[str, float]:
        found = {
            "agreement": float(np.mean(self._agreements)) if self._agreements else 1.0,
            "count_parity": float(np.mean(self._parity)),
            "matched": float(len(self._overlaps)),
        }
        if self._overlaps:
            drifts = np.array(self._drifts)
            found |= {
                "box_iou": float(np.mean(self._overlaps)),
                "confidence_drift": float(drifts.mean()),
                "confidence_drift_max": float(np.abs(drifts).max()),
            }
        return found | ({"mask_iou": float(np.mean(self._masks))} if self._masks else {})

    def _mask_overlaps(
        self, outputs: Tensors, other: Tensors, row: int, found: tuple[Found, Found], pairs: NDArray[np.intp]
    ) -> list[float]:
        left = masks_of(outputs, self._spec, row, found[0].at(pairs[:, 0]))
        right = masks_of(other, self._spec, row, found[1].at(pairs[:, 1]))
        if left is None or right is None:
            return []
        shared = (left & right).sum(axis=(1, 2))
        whole = (left | right).sum(axis=(1, 2))
        return [float(a / b) if b else 1.0 for a, b in zip(shared, whole, strict=True)]


class _Precision(Tally[Array]):
    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._settings = replace(spec.detection, confidence=_FAINT, max_boxes=MOST)
        self._sum = AveragePrecision()

    def update(self, outputs: Tensors, other: Array) -> None:
        for found, rows in zip(decode(outputs, self._spec, self._settings), other, strict=True):
            there = rows[rows[:, 0] >= 0].astype(np.float64)
            self._sum.add(found, there[:, 1:], there[:, 0].astype(np.int64))

    def result(self) -> dict[str, float]:
        return self._sum.result()


def _pairs(left: Found, right: Found, confidence: float) -> NDArray[np.intp]:
    """Return (N, 2) indices of what matches, the largest overlaps first; one of the two is sure of itself."""
    overlaps = box_iou(left.boxes, right.boxes)
    overlaps[left.classes[:, None] != right.classes[None]] = 0.0
    overlaps[(left.scores < confidence)[:, None] & (right.scores < confidence)[None]] = 0.0
    pairs = []
    while overlaps.size and overlaps.max() >= _SAME_BOX:
        row, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
        pairs.append((int(row), int(column)))
        overlaps[row], overlaps[:, column] = 0.0, 0.0
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)
