"""Outputs of each task to answers; the numbers are made so that the right answer can be read off."""

import numpy as np
import pytest

from wherry.core.errors import BadInputError, SpecMismatchError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.runtime.fitting import fitted
from wherry.runtime.results import answers, probabilities


def make_spec(task, outputs, **fields):
    return ModelSpec(
        task=task,
        inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 3, 32, 32)),),
        outputs=tuple(
            TensorSpec(name=name, dtype="float32", shape=("batch", *shape)) for name, shape in outputs.items()
        ),
        **fields,
    )


def test_classes():
    spec = make_spec("classification", {"y": (3,)}, postprocessing="softmax", class_names=("cat", "dog", "owl"))
    first, second = answers({"y": np.array([[0.0, 2.0, 1.0], [9.0, 0.0, 0.0]], np.float32)}, spec)
    assert (first.class_name, first.class_index) == ("dog", 1)
    assert first.confidence == pytest.approx(np.exp(2) / (1 + np.exp(1) + np.exp(2)))
    assert [guess.name for guess in first.top] == ["dog", "owl", "cat"]
    assert first.probabilities.sum() == pytest.approx(1.0)
    assert second.class_name == "cat"
    with pytest.raises(SpecMismatchError):
        answers({"y": np.zeros((1, 2), np.float32)}, spec)


def test_a_sigmoid_does_not_overflow():
    spec = make_spec("classification", {"y": (3,)}, postprocessing="sigmoid")
    assert probabilities({"y": np.array([[-1e4, 0.0, 1e4]], np.float32)}, spec).tolist() == [[0.0, 0.5, 1.0]]


def detector_outputs():
    boxes = np.zeros((1, 4, 3), np.float32)
    boxes[0, :, 0] = (16, 16, 8, 8)
    boxes[0, :, 1] = (16, 16, 8, 7)  # nearly the same box: suppressed
    boxes[0, :, 2] = (16, 26, 4, 4)
    scores = np.array([[[0.9, 0.8, 0.1], [0.0, 0.0, 0.7]]], np.float32)
    return {"boxes": boxes, "scores": scores}


def test_boxes_come_back_to_the_raw_picture():
    how = Preprocessing(kind="image", size=(32, 32), fit="letterbox")
    spec = make_spec("detection", {"boxes": (4, 3), "scores": (2, 3)}, preprocessing=how, class_names=("fire", "smoke"))
    (plain,) = answers(detector_outputs(), spec)
    assert [(one.name, one.box) for one in plain.found] == [
        ("fire", (12.0, 12.0, 20.0, 20.0)),
        ("smoke", (14.0, 24.0, 18.0, 28.0)),
    ]
    assert plain.size is None
    (raw,) = answers(detector_outputs(), spec, [fitted((32, 64), spec)])  # half the size, 8 rows of border above
    assert raw.found[0].box == pytest.approx((24.0, 8.0, 40.0, 24.0))
    assert (raw.size, len(raw)) == ((32, 64), 2)


def test_masks_of_a_segmenter():
    how = Preprocessing(kind="image", size=(32, 32))
    spec = make_spec("segmentation", {"y": (2, 32, 32)}, preprocessing=how, class_names=("wall", "shelf"))
    logits = np.zeros((1, 2, 32, 32), np.float32)
    logits[:, 1, :8] = 1.0
    (small,) = answers({"y": logits}, spec)
    assert small.shares == {"wall": 0.75, "shelf": 0.25}
    (large,) = answers({"y": logits}, spec, [fitted((64, 16), spec)])
    assert large.classes.shape == (64, 16)
    assert large.classes[:16].all()
    assert not large.classes[16:].any()


def test_embeddings_policies_and_what_has_no_task():
    assert answers({"e": np.eye(2, dtype=np.float32)}, make_spec("embedding", {"e": (2,)}))[1].vector.tolist() == [0, 1]
    spec = make_spec("policy_value", {"p": (3,), "v": (1,)})
    (said,) = answers({"p": np.array([[0, 5, 1]], np.float32), "v": np.array([[-0.25]], np.float32)}, spec)
    assert (said.move, said.value) == (1, -0.25)
    assert said.probability == pytest.approx(said.probabilities.max())
    with pytest.raises(BadInputError, match="two outputs"):
        answers({"p": np.zeros((1, 3), np.float32)}, make_spec("policy_value", {"p": (3,)}))
    first, second = answers({"y": np.array([[1.0], [2.0]])}, make_spec("null", {"y": (1,)}))
    assert second.tensors["y"].tolist() == [2.0]
    assert first.tensors["y"].tolist() == [1.0]
