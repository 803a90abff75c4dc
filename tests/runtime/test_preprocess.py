"""Raw examples become inputs: Pillow is the judge of resizing and colour, plain arithmetic of the rest."""

import builtins

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wherry.core.errors import BadInputError, SpecMismatchError, ToolchainMissingError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.runtime.preprocess import prepare

RANDOM = np.random.default_rng(0)


def spec(shape: tuple[int | str, ...], how: Preprocessing, dtype: str = "float32") -> ModelSpec:
    x = TensorSpec(name="x", dtype=dtype, shape=shape)
    return ModelSpec(task="classification", inputs=(x,), outputs=(x,), preprocessing=how)


def images(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def test_imagenet_style():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    how = Preprocessing(kind="image", size=(6, 9), resample="bicubic", scale=1 / 255, mean=mean, std=std)
    raw = images(3, 13, 17, 3)
    given_input = prepare(raw, spec(("batch", 3, 6, 9), how))["x"]
    for index in range(3):
        resized = np.asarray(Image.fromarray(raw[index]).resize((9, 6), Image.Resampling.BICUBIC)).astype(np.float64)
        expected = (resized / 255 - mean) / std
        np.testing.assert_allclose(given_input[index], expected.transpose(2, 0, 1), atol=1e-5)
    assert given_input.dtype == np.float32
    assert given_input.flags.c_contiguous


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
def test_grey_images_without_a_channel_axis(resample: str):
    raw = images(2, 8, 8)
    how = Preprocessing(kind="image", size=(4, 5), color="L", resample=resample, layout="NHWC")
    found = prepare(raw, spec((2, 4, 5, 1), how))["x"]
    method = Image.Resampling[resample.upper()]
    assert np.array_equal(found[1, :, :, 0], np.asarray(Image.fromarray(raw[1]).resize((5, 4), method)))


def test_colour_to_grey_is_what_pillow_says():
    raw = images(4, 32, 32, 3)
    found = prepare(raw, spec(("n", 1, 32, 32), Preprocessing(kind="image", color="L")))["x"]
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in raw])
    assert np.array_equal(found[:, 0], expected)


def test_grey_to_colour():
    raw = images(2, 4, 4, 1)
    found = prepare(raw, spec(("n", 3, 4, 4), Preprocessing(kind="image")))["x"]
    assert np.array_equal(found, np.repeat(raw.transpose(0, 3, 1, 2), 3, axis=1))


def test_an_image_of_the_right_size_is_not_touched():
    raw = images(2, 4, 4, 3)
    how = Preprocessing(kind="image", size=(4, 4), layout="NHWC")
    assert np.array_equal(prepare(raw, spec(("n", 4, 4, 3), how, "uint8"))["x"], raw)


def test_a_tensor_is_normalised_along_its_channels():
    raw = RANDOM.normal(size=(5, 2, 7))
    how = Preprocessing(mean=(1.0, 2.0), std=(3.0, 4.0))
    found = prepare(raw, spec(("n", 2, 7), how))["x"]
    np.testing.assert_allclose(found[:, 1], (raw[:, 1] - 2) / 4, rtol=1e-5)
    last = Preprocessing(mean=(1.0, 2.0), std=(4.0,), layout="NHWC")
    found = prepare(raw.transpose(0, 2, 1), spec(("n", 7, 2), last))["x"]
    np.testing.assert_allclose(found[..., 0], (raw[:, 0] - 1) / 4, rtol=1e-5)


def test_half_and_double_precision():
    raw = RANDOM.normal(size=(3, 4))
    how = Preprocessing(scale=0.1)
    assert prepare(raw, spec(("n", 4), how, "float16"))["x"].dtype == np.float16
    np.testing.assert_array_equal(prepare(raw, spec(("n", 4), how, "float64"))["x"], raw * 0.1)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5))
def test_whole_numbers_pass_unchanged_or_are_refused(numbers: list[int]):
    raw = np.array(numbers, dtype=np.int64)
    small = spec(("n",), Preprocessing(), "int8")
    if all(-128 <= number <= 127 for number in numbers):
        assert prepare(raw, small)["x"].tolist() == numbers
    else:
        with pytest.raises(BadInputError, match="do not fit"):
            prepare(raw, small)


IMAGE = Preprocessing(kind="image")


@pytest.mark.parametrize(
    ("raw", "model", "error", "words"),
    [
        (np.zeros((1, 4, 4, 3), np.float32), spec(("n", 3, 4, 4), IMAGE), BadInputError, "uint8 is expected"),
        (np.zeros((4, 4), np.uint8), spec(("n", 3, 4, 4), IMAGE), BadInputError, "1 or 3 channels"),
        (np.zeros((1, 4, 4, 4), np.uint8), spec(("n", 3, 4, 4), IMAGE), BadInputError, "1 or 3 channels"),
        (np.zeros((1, 5, 4, 3), np.uint8), spec(("n", 3, 4, 4), IMAGE), BadInputError, r"become \[1, 3, 5, 4\]"),
        (np.zeros((1, 4), np.complex64), spec(("n", 4), Preprocessing()), BadInputError, "batch of numbers"),
        (np.float32(1), spec(("n",), Preprocessing()), BadInputError, "batch of numbers"),
        (np.zeros((1, 4), np.float32), spec(("n", 4), Preprocessing(), "int32"), BadInputError, "do not fit"),
        (np.zeros((1, 4), np.float32), spec(("n", 2, 2), Preprocessing()), BadInputError, "become"),
        (np.zeros((1, 4)), spec(("n", 4), Preprocessing(scale=0.5), "uint8"), SpecMismatchError, "fractions"),
        (np.zeros((1, 4)), spec(("n", 4), Preprocessing(std=(0.0,))), SpecMismatchError, "zero"),
        (np.zeros((1, 4)), spec(("n", 4), Preprocessing(mean=(1.0, 2.0))), SpecMismatchError, "2 channels"),
        (
            np.zeros((0, 4, 4), np.uint8),
            spec(("n", 1, 2, 2), Preprocessing(kind="image", size=(2, 2), color="L")),
            BadInputError,
            "nothing to resize",
        ),
    ],
)
def test_what_does_not_fit_is_refused(raw, model: ModelSpec, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        prepare(raw, model)


def test_several_inputs_are_refused():
    x = TensorSpec(name="x", dtype="float32", shape=("n", 1))
    model = ModelSpec(task="t", inputs=(x, x), outputs=(x,))
    with pytest.raises(BadInputError, match="2 inputs"):
        prepare(np.zeros((1, 1)), model)


def test_resizing_without_pillow_names_the_command(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without_pillow(name: str, *rest, **more):
        if name == "PIL":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(ToolchainMissingError) as caught:
        prepare(images(1, 8, 8), spec(("n", 1, 4, 4), Preprocessing(kind="image", size=(4, 4), color="L")))
    assert "wherry[device]" in caught.value.next_step
