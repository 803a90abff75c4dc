"""Average precision of detections as COCO defines it (Lin et al. 2014; the 101-point interpolation of its toolkit).

Thresholds of overlap from 0.50 to 0.95 in steps of 0.05, all sizes of objects, at most 100 detections of an image, no
crowd regions. A detection takes the free object of its class with which it overlaps most; the rest are false.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from wherry.runtime.detect import Found, box_iou

THRESHOLDS = np.arange(10) * 0.05 + 0.5
MOST = 100
"""Detections of one image that count."""
_RECALLS = np.linspace(0.0, 1.0, 101)


class AveragePrecision:
    """Gathers images one by one."""

    def __init__(self) -> None:
        self._scores: dict[int, list[NDArray[np.float32]]] = defaultdict(list)
        self._hits: dict[int, list[NDArray[np.bool_]]] = defaultdict(list)
        self._objects: dict[int, int] = defaultdict(int)

    def add(self, found: Found, boxes: NDArray[np.floating], classes: NDArray[np.integer]) -> None:
        """Take one image.

        Args:
            found: its detections, best first.
            boxes: (N, 4) x1, y1, x2, y2 of what is there.
            classes: index of each.
        """
        scores, kinds, where = found.scores[:MOST], found.classes[:MOST], found.boxes[:MOST]
        for kind in np.union1d(kinds, classes.astype(np.int64)).tolist():
            mine, there = kinds == kind, classes == kind
            self._objects[kind] += int(there.sum())
            self._scores[kind].append(scores[mine])
            self._hits[kind].append(_hits(box_iou(where[mine], boxes[there])))

    def result(self) -> dict[str, float]:
        """Return `map` (mean over thresholds and classes that occur) and `map50`; empty when there was no object."""
        kinds = [kind for kind, number in self._objects.items() if number]
        if not kinds:
            return {}
        table = np.stack([self._of_class(kind) for kind in kinds])
        return {"map": float(table.mean()), "map50": float(table[:, 0].mean())}

    def _of_class(self, kind: int) -> NDArray[np.float64]:
        """Return the average precision at each threshold."""
        order = np.argsort(-np.concatenate(self._scores[kind]), kind="stable")
        hits = np.concatenate(self._hits[kind], axis=1)[:, order]
        return np.array([_interpolated(row, self._objects[kind]) for row in hits])


def _hits(overlaps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each threshold which detections, best first, took an object."""
    found, objects = overlaps.shape
    hits = np.zeros((len(THRESHOLDS), found), dtype=np.bool_)
    if objects == 0:
        return hits
    taken = np.zeros((len(THRESHOLDS), objects), dtype=np.bool_)
    every = np.arange(len(THRESHOLDS))
    for index, overlap in enumerate(overlaps):
        free = np.where(taken, -1.0, overlap)
        best = free.argmax(axis=1)
        hit = free[every, best] >= THRESHOLDS
        taken[every[hit], best[hit]] = True
        hits[:, index] = hit
    return hits


def _interpolated(hits: NDArray[np.bool_], objects: int) -> float:
    """Return the mean over 101 recalls of the best precision at that recall or a higher one."""
    if not len(hits):
        return 0.0
    true = np.cumsum(hits)
    precision = true / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(true / objects, _RECALLS, side="left")
    return float(np.append(best, 0.0)[at].mean())
