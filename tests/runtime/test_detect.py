"""Boxes and scores to detections: by hand, and against torchvision's suppression."""

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from wherry.core.errors import BadInputError, SpecMismatchError
from wherry.core.model import DetectionSettings, ModelSpec, Preprocessing, TensorSpec
from wherry.runtime.detect import box_iou, decode, detect, input_size, on_raw
from wherry.runtime.fitting import place


def spec(outputs=2, names=("cat", "dog"), **settings) -> ModelSpec:
    shapes = [("n", 4, "a"), ("n", 2, "a"), ("n", 3, "a"), ("n", 3, 16, 16)]
    return ModelSpec(
        task="detection",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("n", 3, 64, 64)),),
        outputs=tuple(
            TensorSpec(name=f"y{index}", dtype="float32", shape=shape) for index, shape in enumerate(shapes[:outputs])
        ),
        class_names=names,
        detection=DetectionSettings(**settings),
    )


def tensors(rows, **more):
    """One image: rows of (x, y, width, height, score of class 0, of class 1)."""
    table = np.array(rows, np.float32).T[None]
    return {"y0": table[:, :4], "y1": table[:, 4:]} | more


BOXES = tensors(
    [
        (20, 20, 20, 20, 0.9, 0.1),
        (21, 20, 20, 20, 0.8, 0.1),  # the same cat again
        (21, 20, 20, 20, 0.1, 0.7),  # a dog at the same place
        (50, 50, 10, 10, 0.1, 0.3),
        (50, 10, 10, 10, 0.2, 0.1),  # too faint
    ]
)


def test_by_hand():
    (found,) = detect(BOXES, spec())
    assert [(one.name, round(one.score, 2)) for one in found] == [("cat", 0.9), ("dog", 0.7), ("dog", 0.3)]
    assert found[0].box == (10.0, 10.0, 30.0, 30.0)
    assert found[0].mask is None
    assert [one.name for one in detect(BOXES, spec(names=()))[0]] == ["0", "1", "1"]


def test_the_settings_are_heard():
    assert len(detect(BOXES, spec(confidence=0.75))[0]) == 1
    assert len(detect(BOXES, spec(iou=0.95))[0]) == 4
    assert len(detect(BOXES, spec(max_boxes=2))[0]) == 2
    assert detect(BOXES, spec(confidence=0.95)) == [()]


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_torchvisions(seed):
    random = np.random.default_rng(seed)
    middle, side = random.uniform(0, 64, (300, 2)), random.uniform(4, 30, (300, 2))
    scores = random.permutation(600).reshape(300, 2) / 600  # no two are equal
    one = {"y0": np.concatenate([middle, side], 1).T[None], "y1": scores.T[None]}
    one = {name: array.astype(np.float32) for name, array in one.items()}
    (found,) = decode(one, spec(confidence=0.2, iou=0.5))
    corners = torch.from_numpy(np.concatenate([middle - side / 2, middle + side / 2], 1).astype(np.float32))
    best, classes = torch.from_numpy(scores.astype(np.float32)).max(1)
    keep = torch.nonzero(best >= 0.2).ravel()
    kept = keep[batched_nms(corners[keep], best[keep], classes[keep], 0.5)]
    assert found.anchors.tolist() == kept.tolist()
    np.testing.assert_allclose(found.boxes, corners[kept], atol=1e-4)


def test_overlap_by_hand():
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [0, 0, 0, 0]])
    np.testing.assert_allclose(box_iou(boxes[:1], boxes)[0], [1.0, 1 / 3, 0.0, 0.0])


def test_masks_are_enlarged_and_cut_off_at_the_box():
    prototypes = np.zeros((1, 3, 16, 16), np.float32)
    prototypes[0, 1] = -1.0
    prototypes[0, 1, :, :8] = 1.0  # the left half
    coefficients = np.zeros((1, 3, 5), np.float32)
    coefficients[0, 1] = 2.0
    more = {"y2": coefficients, "y3": prototypes}
    (found,) = detect(BOXES | more, spec(outputs=4))
    mask = found[0].mask
    assert mask is not None
    assert mask.shape == (64, 64)
    assert mask[10:30, 10:30].all()
    assert mask.sum() == 400
    assert not found[2].mask.any()  # the right half


def test_enlarging_is_bilinear_as_torch_does_it():
    random = np.random.default_rng(0)
    prototypes = random.normal(size=(1, 3, 16, 16)).astype(np.float32)
    coefficients = random.normal(size=(1, 3, 1)).astype(np.float32)
    whole = tensors([(32, 32, 64, 64, 0.9, 0.1)]) | {"y2": coefficients, "y3": prototypes}
    (found,) = detect(whole, spec(outputs=4))
    logits = torch.from_numpy(np.tensordot(coefficients[0, :, 0], prototypes[0], 1))[None, None]
    expected = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear", align_corners=False) > 0
    assert found[0].mask.tolist() == expected[0, 0].tolist()


def test_detections_come_back_to_the_raw_image():
    prototypes = np.ones((1, 3, 16, 16), np.float32)
    more = {"y2": np.ones((1, 3, 5), np.float32), "y3": prototypes}
    (found,) = detect(BOXES | more, spec(outputs=4))
    spot = place((32, 64), Preprocessing(kind="image", size=(64, 64), fit="letterbox"))
    raw = on_raw(found, spot)
    assert raw[0].box == (10.0, 0.0, 30.0, 14.0)
    assert raw[0].mask.shape == (32, 64)
    assert raw[0].mask.sum() == 20 * 14
    assert on_raw((), spot) == ()


def test_what_is_no_detector_is_refused():
    with pytest.raises(BadInputError, match="not those of a detector"):
        detect({"y0": BOXES["y1"], "y1": BOXES["y0"]}, spec())
    broken = {"y0": BOXES["y0"], "y1": np.full_like(BOXES["y1"], np.nan)}
    with pytest.raises(BadInputError, match="not finite"):
        detect(broken, spec())
    with pytest.raises(SpecMismatchError, match="one output"):
        detect(BOXES, spec(outputs=1))
    with pytest.raises(SpecMismatchError, match="3 class names for 2"):
        detect(BOXES, spec(names=("a", "b", "c")))


def test_the_size_of_the_input():
    x = TensorSpec(name="x", dtype="float32", shape=("n", 3, "h", "w"))
    how = Preprocessing(kind="image", size=(48, 40))
    assert input_size(spec()) == (64, 64)
    assert input_size(ModelSpec(task="t", inputs=(x,), outputs=(x,), preprocessing=how)) == (48, 40)
    with pytest.raises(SpecMismatchError, match="not known"):
        input_size(ModelSpec(task="t", inputs=(x,), outputs=(x,)))
