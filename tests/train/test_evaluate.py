"""Accuracy and loss are those that a person would work out."""

import math

import numpy as np
import pytest

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec
from wherry.train.evaluate import BATCH, evaluate
from wherry.train.examples import Examples

NAMES = ("no", "yes")
SPEC = ModelSpec(task="classification", inputs=(), outputs=(), postprocessing="softmax", class_names=NAMES)
PROBABILITIES = ModelSpec(task="classification", inputs=(), outputs=(), class_names=NAMES)


def examples(labels: list[int]) -> Examples:
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1) if labels else np.zeros((0, 1, 1), np.uint8)
    return Examples(images=images, labels=np.array(labels, dtype=np.int64), class_names=NAMES)


def test_logits_are_taken_through_softmax() -> None:
    scores = np.array([[0.0, math.log(3)], [1000.0, 1000.0], [math.log(3), 0.0]])

    found = evaluate(lambda images: scores, examples([1, 0, 1]), SPEC)

    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["loss"] == pytest.approx((math.log(4 / 3) + math.log(2) + math.log(4)) / 3)
    assert found["examples"] == 3


def test_probabilities_are_taken_as_they_are() -> None:
    found = evaluate(lambda images: np.array([[0.75, 0.25], [0.0, 1.0]]), examples([0, 0]), PROBABILITIES)

    assert found["loss"] == pytest.approx((-math.log(0.75) - math.log(1e-12)) / 2)
    assert found["accuracy"] == 0.5


def test_images_come_in_bounded_batches_in_order() -> None:
    seen: list[int] = []

    def predict(images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        return np.eye(2)[images[:, 0, 0] % 2]

    labels = [index % 2 for index in range(2 * BATCH + 1)]
    images = np.array([[[label]] for label in labels], dtype=np.uint8)
    data = Examples(images=images, labels=np.array(labels), class_names=NAMES)

    assert evaluate(predict, data, SPEC)["accuracy"] == 1.0
    assert seen == [BATCH, BATCH, 1]


@pytest.mark.parametrize(
    ("scores", "labels", "spec"),
    [
        (np.zeros((1, 3)), [0], SPEC),
        (np.full((1, 2), np.nan), [0], SPEC),
        (np.zeros((0, 2)), [], SPEC),
        (np.zeros((1, 2)), [0], ModelSpec(task="x", inputs=(), outputs=(), class_names=("yes", "no"))),
    ],
)
def test_what_cannot_be_evaluated_is_refused(scores: np.ndarray, labels: list[int], spec: ModelSpec) -> None:
    with pytest.raises(BadInputError):
        evaluate(lambda images: scores, examples(labels), spec)
