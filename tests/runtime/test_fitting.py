"""Letterbox, crop and the way back: Pillow is the judge of pixels, plain arithmetic of places."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.runtime.fitting import fitted, place
from wherry.runtime.preprocess import prepare

RANDOM = np.random.default_rng(0)


def spec(how: Preprocessing, size=(64, 96)) -> ModelSpec:
    x = TensorSpec(name="x", dtype="float32", shape=("n", 3, *size))
    return ModelSpec(task="detection", inputs=(x,), outputs=(x,), preprocessing=how)


def image(height: int, width: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def bilinear(raw: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(raw).resize((width, height), Image.Resampling.BILINEAR))


def test_a_letterbox_keeps_the_aspect_and_fills_with_the_pad():
    how = Preprocessing(kind="image", size=(64, 96), fit="letterbox", pad=7)
    raw = image(100, 100)
    found = prepare(raw[None], spec(how))["x"][0].transpose(1, 2, 0)
    assert np.array_equal(found[:, 16:80], bilinear(raw, 64, 64))
    assert (found[:, :16] == 7).all()
    assert (found[:, 80:] == 7).all()
    spot = fitted(raw.shape[:2], spec(how))
    assert (spot.resized, spot.offset, spot.scale) == ((64, 64), (0, 16), (0.64, 0.64))


def test_a_crop_cuts_the_middle_out():
    how = Preprocessing(kind="image", size=(64, 96), fit="crop")
    raw = image(200, 150)
    found = prepare(raw[None], spec(how))["x"][0].transpose(1, 2, 0)
    resized = bilinear(raw, 128, 96)
    assert np.array_equal(found, resized[32:96])
    assert place((200, 150), how).offset == (-32, 0)


def test_bgr_networks_get_flipped_channels():
    mean = (1.0, 2.0, 3.0)
    raw = image(64, 96)
    rgb = prepare(raw[None], spec(Preprocessing(kind="image", size=(64, 96))))["x"]
    how = Preprocessing(kind="image", size=(64, 96), channel_order="BGR", mean=mean)
    bgr = prepare(raw[None], spec(how))["x"]
    np.testing.assert_allclose(bgr + np.array(mean, np.float32).reshape(1, 3, 1, 1), rgb[:, ::-1])


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.sampled_from(["stretch", "letterbox", "crop"]),
)
def test_boxes_come_back_to_where_they_were(raw, size, fit):
    spot = place(raw, Preprocessing(kind="image", size=size, fit=fit))
    assert spot.size == size
    low, high = (max, min) if fit == "letterbox" else (min, max)
    if fit != "stretch":  # one side fits exactly, the other is not beyond it
        assert any(a == b for a, b in zip(spot.resized, size, strict=True))
        assert all(low(a, b) == b for a, b in zip(spot.resized, size, strict=True))
        assert high is not low
    boxes = np.array([[0.0, 0.0, raw[1], raw[0]], [0.25 * raw[1], 0.5 * raw[0], 0.75 * raw[1], raw[0]]])
    np.testing.assert_allclose(spot.boxes_to_raw(spot.boxes_to_input(boxes)), boxes, atol=1e-9 * max(raw))


def test_a_mask_comes_back_in_the_raw_images_size():
    how = Preprocessing(kind="image", size=(64, 96), fit="letterbox")
    spot = place((32, 32), how)
    mask = np.zeros((64, 96), np.bool_)
    mask[:32, 16:48] = True  # the upper left quarter of what the letterbox holds
    found = spot.map_to_raw(mask)
    assert found.shape == (32, 32)
    assert found[:16, :16].all()
    assert found.sum() == 256
    classes = np.full((64, 96), 3, np.uint16)
    back = place((200, 96), Preprocessing(kind="image", size=(64, 96), fit="crop")).map_to_raw(classes, outside=255)
    assert (back[68:132] == 3).all()
    assert (back[:68] == 255).all()
    assert (back[132:] == 255).all()


def test_an_empty_image_is_refused():
    with pytest.raises(BadInputError, match="0 x 4"):
        place((0, 4), Preprocessing(kind="image", size=(2, 2)))
