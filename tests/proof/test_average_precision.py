"""COCO's average precision: by hand, and against torchmetrics' own implementation on random scenes."""

import sys
from types import ModuleType

import numpy as np
import pytest

from wherry.proof.average_precision import AveragePrecision
from wherry.runtime.detect import Found


def found(boxes, scores, classes):
    order = np.argsort(-np.asarray(scores), kind="stable")
    return Found(
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4)[order],
        scores=np.asarray(scores, np.float32)[order],
        classes=np.asarray(classes, np.intp)[order],
        anchors=order.astype(np.intp),
    )


def precision(*images):
    tally = AveragePrecision()
    for seen, boxes, classes in images:
        tally.add(seen, np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(classes, np.int64))
    return tally.result()


BOX = [0, 0, 10, 10]


def test_by_hand():
    assert precision((found([BOX], [0.9], [0]), [BOX], [0])) == {"map": 1.0, "map50": 1.0}
    assert precision((found([BOX], [0.9], [1]), [BOX], [0])) == {"map": 0.0, "map50": 0.0}
    assert precision((found([], [], []), [BOX], [0])) == {"map": 0.0, "map50": 0.0}
    assert precision((found([BOX], [0.9], [0]), [], [])) == {}
    # 8 of 10 columns: overlap 0.8 is a hit at 0.50 to 0.80, which are 7 of the 10 thresholds.
    assert precision((found([[0, 0, 8, 10]], [0.9], [0]), [BOX], [0])) == {"map": pytest.approx(0.7), "map50": 1.0}
    # A better false one halves the precision at every recall; a worse one costs nothing.
    false = [50, 50, 60, 60]
    assert precision((found([BOX, false], [0.5, 0.9], [0, 0]), [BOX], [0]))["map"] == pytest.approx(0.5)
    assert precision((found([BOX, false], [0.9, 0.5], [0, 0]), [BOX], [0]))["map"] == pytest.approx(1.0)
    # One of two objects found: precision 1 up to recall 0.5, which are 51 of 101 points.
    assert precision((found([BOX], [0.9], [0]), [BOX, false], [0, 0]))["map"] == pytest.approx(51 / 101)
    # The second detection of one object is false.
    twice = precision((found([BOX, BOX], [0.9, 0.8], [0, 0]), [BOX, false], [0, 0]))
    assert twice["map"] == pytest.approx(51 / 101)


def scene(random):
    """Objects of three classes, and detections of them that are off, missing, doubled or made up."""
    number = int(random.integers(0, 8))
    corner, side = random.uniform(0, 80, (number, 2)), random.uniform(5, 40, (number, 2))
    boxes, classes = np.concatenate([corner, corner + side], 1), random.integers(0, 3, number)
    seen = np.concatenate([boxes, boxes[: number // 2]]) + random.normal(scale=2.0, size=(number + number // 2, 4))
    kinds = np.concatenate([classes, classes[: number // 2]])
    kinds = np.where(random.random(len(kinds)) < 0.2, random.integers(0, 3, len(kinds)), kinds)
    seen[:, 2:] = np.maximum(seen[:, :2] + 1.0, seen[:, 2:])
    keep = random.random(len(seen)) < 0.85
    noise = np.sort(random.uniform(0, 100, (3, 2, 2)), axis=1).reshape(3, 4)
    seen, kinds = np.concatenate([seen[keep], noise]), np.concatenate([kinds[keep], random.integers(0, 3, 3)])
    return found(seen, random.random(len(seen)), kinds), boxes.astype(np.float32), classes


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_numbers_are_those_of_torchmetrics(seed, monkeypatch):
    import torch
    from torchmetrics.detection import _mean_ap

    # It wants pycocotools to be there, but uses them for masks alone; boxes are its own arithmetic.
    monkeypatch.setattr(_mean_ap, "_PYCOCOTOOLS_AVAILABLE", True)
    for name in ("pycocotools", "pycocotools.mask"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    random = np.random.default_rng(seed)
    images = [scene(random) for _ in range(15)]
    judge = _mean_ap.MeanAveragePrecision()
    for seen, boxes, classes in images:
        made = {"boxes": torch.from_numpy(seen.boxes), "scores": torch.from_numpy(seen.scores)}
        judge.update(
            [made | {"labels": torch.from_numpy(seen.classes.astype(np.int64))}],
            [{"boxes": torch.from_numpy(boxes).reshape(-1, 4), "labels": torch.from_numpy(classes)}],
        )
    expected = judge.compute()
    mine = precision(*images)
    # Its recalls are single precision, so that now and then one of the 101 points falls on the other side.
    assert mine["map"] == pytest.approx(float(expected["map"]), abs=1e-3)
    assert mine["map50"] == pytest.approx(float(expected["map_50"]), abs=3e-3)
    assert 0.1 < mine["map"] < 0.9
