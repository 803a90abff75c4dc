"""Boxes and scores of a detector to detections: threshold, non-maximum suppression, masks from prototypes.

NumPy alone. The outputs are told by position: `boxes` (N, 4, anchors) as centre x, centre y, width, height in pixels of
the network's input, `scores` (N, classes, anchors) from 0 to 1, and with masks `coefficients` (N, k, anchors) and
`prototypes` (N, k, height, width); a mask is where `coefficients . prototypes` is above zero, cut off at the box
(YOLACT, Bolya et al. 2019, arXiv:1904.02689).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import BadInputError, SpecMismatchError
from wherry.core.model import DetectionSettings, ModelSpec
from wherry.runtime.fitting import Placement
from wherry.runtime.interface import Array, Tensors

_CANDIDATES = 30_000
"""Most boxes of one image that take part in the suppression, the best ones first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detection:
    """One object that was found."""

    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels: of the network's input, or of the raw image after `on_raw`."""
    score: float
    index: int
    """Of the class."""
    name: str
    """The class name, or the index as text where the model has no class names."""
    mask: NDArray[np.bool_] | None = None
    """(height, width) of what the box is in; None where the network gives no masks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The detections of one image as arrays, best first."""

    boxes: NDArray[np.float32]
    """(N, 4) x1, y1, x2, y2 in pixels of the network's input."""
    scores: NDArray[np.float32]
    classes: NDArray[np.intp]
    anchors: NDArray[np.intp]
    """Column of each in the network's outputs."""

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, rows: NDArray[np.intp]) -> "Found":
        """Return those in that order."""
        return Found(
            boxes=self.boxes[rows], scores=self.scores[rows], classes=self.classes[rows], anchors=self.anchors[rows]
        )


def detect(outputs: Tensors, spec: ModelSpec) -> list[tuple[Detection, ...]]:
    """Return the detections of each image, best first, after the spec's threshold and suppression.

    Raises:
        BadInputError: the outputs do not have the shapes of a detector, or are not finite.
        SpecMismatchError: the spec has fewer outputs, or its class names do not fit.
    """
    names = _names(outputs, spec)
    answers = []
    for row, found in enumerate(decode(outputs, spec)):
        masks = masks_of(outputs, spec, row, found)
        answers.append(
            tuple(
                Detection(
                    box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                    score=float(score),
                    index=int(index),
                    name=names[index],
                    mask=None if masks is None else masks[order],
                )
                for order, (box, score, index) in enumerate(zip(found.boxes, found.scores, found.classes, strict=True))
            )
        )
    return answers


def on_raw(detections: Sequence[Detection], placement: Placement) -> tuple[Detection, ...]:
    """Return detections of the network's input with boxes and masks of the raw image."""
    if not detections:
        return ()
    boxes = placement.boxes_to_raw(np.array([one.box for one in detections]))
    return tuple(
        replace(
            one,
            box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            mask=None if one.mask is None else placement.map_to_raw(one.mask).astype(np.bool_),
        )
        for one, box in zip(detections, boxes, strict=True)
    )


def decode(outputs: Tensors, spec: ModelSpec, settings: DetectionSettings | None = None) -> list[Found]:
    """Return the detections of each image as arrays, best first.

    An anchor counts for the class of its largest score; suppression is greedy and within a class.

    Args:
        outputs: of the network.
        spec: which of them are boxes and scores.
        settings: threshold, overlap and number; by default those of the spec.

    Raises:
        BadInputError: the outputs do not have the shapes of a detector, or are not finite.
        SpecMismatchError: the spec has fewer than two outputs.
    """
    boxes, scores = _boxes_and_scores(outputs, spec)
    how = settings or spec.detection
    return [_decode_one(*pair, how) for pair in zip(boxes, scores, strict=True)]


def masks_of(outputs: Tensors, spec: ModelSpec, row: int, found: Found) -> NDArray[np.bool_] | None:
    """Return the masks (N, height, width) of what was found in one image, in the network's input size, or None.

    Raises:
        SpecMismatchError: the spec does not say how large the network's input is.
    """
    if len(spec.outputs) < 4:
        return None
    size = input_size(spec)
    coefficients = outputs[spec.outputs[2].name][row].astype(np.float32)[:, found.anchors].T
    prototypes = outputs[spec.outputs[3].name][row].astype(np.float32)
    masks = np.zeros((len(found), *size), dtype=np.bool_)
    logits = np.tensordot(coefficients, prototypes, axes=1)
    for mask, logit, box in zip(masks, logits, found.boxes, strict=True):
        x1, y1 = np.clip(np.floor(box[:2]), 0, (size[1], size[0])).astype(int)
        x2, y2 = np.clip(np.ceil(box[2:]), 0, (size[1], size[0])).astype(int)
        if x2 > x1 and y2 > y1:
            mask[y1:y2, x1:x2] = _enlarged(logit, size, (y1, y2), (x1, x2)) > 0.0
    return masks


def input_size(spec: ModelSpec) -> tuple[int, int]:
    """Return height and width of the network's input.

    Raises:
        SpecMismatchError: they are dynamic and the preprocessing names no size.
    """
    how = spec.preprocessing
    shape = spec.inputs[0].shape
    sides = shape[2:4] if how.layout == "NCHW" else shape[1:3]
    fixed = [side for side in sides if isinstance(side, int)]
    if len(fixed) == 2:
        return fixed[0], fixed[1]
    if how.size is not None:
        return how.size
    msg = f"Input {spec.inputs[0].name!r} has shape {list(shape)}, so the size of its pictures is not known."
    raise SpecMismatchError(msg, next_step="Name the size in the model spec's preprocessing.")


def box_iou(left: Array, right: Array) -> NDArray[np.float64]:
    """Return the overlap (N, M) of boxes (N, 4) and (M, 4), x1, y1, x2, y2: intersection over union, 0 to 1."""
    a, b = np.asarray(left, dtype=np.float64)[:, None], np.asarray(right, dtype=np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    np.maximum(sides, 0.0, out=sides)
    shared = sides[..., 0] * sides[..., 1]
    whole = _area(a) + _area(b) - shared
    overlap: NDArray[np.float64] = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return overlap


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = np.maximum(boxes[..., 2] - boxes[..., 0], 0.0) * np.maximum(
        boxes[..., 3] - boxes[..., 1], 0.0
    )
    return area


def _decode_one(boxes: Array, scores: Array, how: DetectionSettings) -> Found:
    best = scores.max(axis=0)
    (anchors,) = np.nonzero(best >= how.confidence)
    order = np.argsort(-best[anchors], kind="stable")[:_CANDIDATES]
    anchors = anchors[order]
    middle, sides = boxes[:2, anchors].T.astype(np.float32), boxes[2:, anchors].T.astype(np.float32)
    corners = np.concatenate([middle - sides / 2, middle + sides / 2], axis=1)
    classes = scores[:, anchors].argmax(axis=0)
    kept = _suppress(corners, classes, how)
    return Found(
        boxes=corners[kept],
        scores=best[anchors[kept]].astype(np.float32),
        classes=classes[kept],
        anchors=anchors[kept],
    )


def _suppress(boxes: NDArray[np.float32], classes: NDArray[np.intp], how: DetectionSettings) -> NDArray[np.intp]:
    """Return the boxes that stay: the best one, then the best that overlaps with no better one of its class."""
    left, corners = np.arange(len(boxes)), boxes.astype(np.float64)
    kept: list[int] = []
    while len(left) and len(kept) < how.max_boxes:
        first, left = left[0], left[1:]
        kept.append(int(first))
        overlap = box_iou(corners[first : first + 1], corners[left])[0]
        left = left[(overlap <= how.iou) | (classes[left] != classes[first])]
    return np.array(kept, dtype=np.intp)


def _enlarged(
    logit: NDArray[np.float32], size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[np.float32]:
    """Return that part of a prototype's plane, bilinearly enlarged to `size` with pixel middles on pixel middles."""
    upper, lower, down = _neighbours(logit.shape[0], size[0], *rows)
    lefts, rights, along = _neighbours(logit.shape[1], size[1], *columns)
    tall = logit[upper] * (1 - down)[:, None] + logit[lower] * down[:, None]
    return np.asarray(tall[:, lefts] * (1 - along) + tall[:, rights] * along, dtype=np.float32)


def _neighbours(
    length: int, whole: int, start: int, stop: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    where = np.clip((np.arange(start, stop) + 0.5) * (length / whole) - 0.5, 0, length - 1)
    low = np.floor(where).astype(np.intp)
    return low, np.minimum(low + 1, length - 1), (where - low).astype(np.float32)


def _boxes_and_scores(outputs: Tensors, spec: ModelSpec) -> tuple[Array, Array]:
    if len(spec.outputs) < 2:
        msg = "A detector gives boxes and scores, and the spec names one output."
        raise SpecMismatchError(msg)
    boxes, scores = (outputs[tensor.name] for tensor in spec.outputs[:2])
    if boxes.ndim != 3 or scores.ndim != 3 or boxes.shape[1] != 4 or boxes.shape[::2] != scores.shape[::2]:
        msg = (
            f"Boxes of shape {list(boxes.shape)} and scores of shape {list(scores.shape)} are not those of a detector."
        )
        raise BadInputError(msg, next_step="Give boxes (N, 4, anchors) and scores (N, classes, anchors).")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        msg = "Boxes or scores hold a number that is not finite."
        raise BadInputError(msg, next_step="Look for NaN or infinity in the inputs or the weights.")
    return boxes, scores


def _names(outputs: Tensors, spec: ModelSpec) -> list[str]:
    _, scores = _boxes_and_scores(outputs, spec)
    classes = scores.shape[1]
    names = list(spec.class_names) or [str(index) for index in range(classes)]
    if len(names) != classes:
        msg = f"There are {len(names)} class names for {classes} classes."
        raise SpecMismatchError(msg)
    return names
