"""A network's tensors as a Hailo chip has them, and back: NumPy alone, so that it is tested without the chip.

The chip normalises by itself, so it is given raw numbers, channels last. HailoRT casts what does not fit with no more
than a warning, which turns an image of 0 to 1 into zeros; here nothing is cast that would change.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import BadInputError
from wherry.core.model import Preprocessing
from wherry.runtime.interface import Array

_ROUNDING = 0.05  # of one step of a pixel; float32 of a normalised byte is a thousand times closer


def to_chip(prepared: Array, how: Preprocessing, *, dtype: str, channels_last: bool) -> Array:
    """Return a batch of the network's inputs as the chip takes it: normalisation undone, channels last, rank 4.

    Args:
        prepared: what `prepare` gave, of rank 3 or 4.
        how: the preprocessing that it went through.
        dtype: `uint8` for images, `float32` for measurements.
        channels_last: whether the channels are last already; otherwise they are on axis 1.

    Raises:
        BadInputError: pixels are no whole numbers from 0 to 255, so the chip would see another image.
    """
    axis = prepared.ndim - 1 if channels_last else 1
    mean, std = (_per_channel(values, prepared, axis) for values in (how.mean, how.std))
    raw = (prepared.astype(np.float64) * std + mean) / how.scale
    raw = raw if channels_last else np.moveaxis(raw, 1, -1)
    raw = raw[:, np.newaxis] if raw.ndim == 3 else raw
    if dtype != "uint8":
        return np.ascontiguousarray(raw, dtype=dtype)
    whole = np.rint(raw)
    if raw.size and (np.abs(raw - whole).max() > _ROUNDING or whole.min() < 0 or whole.max() > 255):
        msg = f"The chip takes whole pixels from 0 to 255, and these go from {raw.min():.4g} to {raw.max():.4g}."
        raise BadInputError(msg, next_step="Give what `prepare` makes of images with the model's own preprocessing.")
    return np.ascontiguousarray(whole, dtype=np.uint8)


def _per_channel(values: tuple[float, ...], array: Array, axis: int) -> NDArray[np.float64]:
    shape = [1] * array.ndim
    shape[axis] = len(values)
    return np.array(values, dtype=np.float64).reshape(shape)


def from_chip(array: Array, shape: Sequence[int | str]) -> Array:
    """Return one output in the shape of the spec.

    Args:
        array: batch first, channels last, as the chip gives it.
        shape: the spec's shape; names and the batch are left open.

    Raises:
        ValueError: the numbers are too few or too many.
    """
    rows = len(array)
    found = np.moveaxis(array, -1, 1) if array.ndim > 2 else array
    fixed = [-1 if isinstance(axis, str) else axis for axis in shape[1:]]
    return np.ascontiguousarray(found.reshape(rows, *fixed), dtype=np.float32)


def decode_boxes(maps: Mapping[int, Array]) -> NDArray[np.float32]:
    """Return boxes (batch, 4, anchors) as centre x, centre y, width, height in pixels of the input.

    Each side's distance from the cell's centre is the mean of a distribution over bins (Generalized Focal Loss,
    Li et al. 2020), times the stride.

    Args:
        maps: regression by stride, each (batch, height, width, 4 x bins).
    """
    parts = []
    for stride, array in sorted(maps.items()):
        batch, height, width, channels = array.shape
        bins = channels // 4
        logits = array.reshape(batch, height * width, 4, bins).astype(np.float64)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        sides = (powers / powers.sum(axis=-1, keepdims=True)) @ np.arange(bins)
        rows, columns = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
        centres = np.stack([columns.ravel(), rows.ravel()], axis=-1)
        low, high = centres - sides[..., :2], centres + sides[..., 2:]
        parts.append(np.concatenate([(low + high) / 2, high - low], axis=-1) * stride)
    return np.concatenate(parts, axis=1).transpose(0, 2, 1).astype(np.float32)


def join_maps(maps: Mapping[int, Array]) -> NDArray[np.float32]:
    """Return maps (batch, height, width, channels) by stride as one (batch, channels, anchors)."""
    parts = [array.reshape(len(array), -1, array.shape[-1]) for _, array in sorted(maps.items())]
    return np.concatenate(parts, axis=1).transpose(0, 2, 1).astype(np.float32)


def from_nms(
    detections: Sequence[Sequence[Any]], size: tuple[int, int], anchors: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return detections that the chip's runtime suppressed already as boxes and scores; unused anchors score 0.

    Args:
        detections: for each image and each class an array (n, 5): y min, x min, y max, x max from 0 to 1, score.
        size: height and width of the input in pixels.
        anchors: places there are; the best detections are kept when there are more.
    """
    boxes = np.zeros((len(detections), 4, anchors), dtype=np.float32)
    scores = np.zeros((len(detections), len(detections[0]) if detections else 0, anchors), dtype=np.float32)
    height, width = size
    for image, classes in enumerate(detections):
        found = [(label, row) for label, rows in enumerate(classes) for row in np.asarray(rows).reshape(-1, 5)]
        found.sort(key=lambda one: -float(one[1][4]))
        for place, (label, (top, left, bottom, right, score)) in enumerate(found[:anchors]):
            centre = ((left + right) / 2 * width, (top + bottom) / 2 * height)
            boxes[image, :, place] = (*centre, (right - left) * width, (bottom - top) * height)
            scores[image, label, place] = score
    return boxes, scores
