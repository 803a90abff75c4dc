"""Preprocessing as a rung of its own: every planted difference is measured, and called by its name."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.proof.golden import GoldenSet
from wherry.proof.inputs import preprocessing_rung
from wherry.runtime.preprocess import prepare

HOW = Preprocessing(kind="image", size=(64, 64), scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def spec(how=HOW, shape=("batch", 3, 64, 64)):
    x = TensorSpec(name="x", dtype="float32", shape=shape)
    y = TensorSpec(name="y", dtype="float32", shape=("batch", 2))
    return ModelSpec(task="classification", inputs=(x,), outputs=(y,), preprocessing=how)


@pytest.fixture(scope="module")
def photos():
    return np.stack(load_sample_images().images)


def golden(photos, model):
    return GoldenSet(
        raw=photos, references={"y": np.zeros((len(photos), 2))}, prepared={"x": prepare(photos, model)["x"]}
    )


def test_the_same_preprocessing_passes_to_the_last_digit(photos):
    rung = preprocessing_rung(golden(photos, spec()), spec())
    assert rung.passed
    assert (rung.name, rung.reason, rung.max_abs) == ("preprocessing", "", 0.0)
    assert rung.cosine == pytest.approx(1.0)


def test_an_image_library_that_rounds_otherwise_passes(photos):
    raw = photos[:, ::4, ::4]
    random = np.random.default_rng(0)
    off = raw.astype(int) + (random.random(raw.shape) < 0.05)
    here = replace(
        golden(raw, spec(replace(HOW, size=None), ("batch", 3, *raw.shape[1:3]))), raw=off.clip(0, 255).astype(np.uint8)
    )
    assert preprocessing_rung(here, spec(replace(HOW, size=None), ("batch", 3, *raw.shape[1:3]))).passed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channel_order": "BGR"}, "channel_order is 'BGR' here and was 'RGB' in the golden set"),
        ({"resample": "nearest"}, "resample is 'nearest' here and was 'bilinear'"),
        ({"resample": "bicubic"}, "resample is 'bicubic' here and was 'bilinear'"),
        ({"fit": "letterbox"}, "fit is 'letterbox' here and was 'stretch'"),
        ({"fit": "crop"}, "fit is 'crop' here and was 'stretch'"),
        (
            {"mean": (0.0,), "std": (1.0,)},
            "normalisation is (x * 0.003922 - 0) / 1 here; the recorded inputs are these times [4.367, 4.464, 4.444]",
        ),
        ({"scale": 1.0}, "normalisation is (x * 1 - [0.485, 0.456, 0.406])"),
        ({"layout": "NHWC"}, "layout is 'NHWC' here and was 'NCHW'"),
        ({"size": (32, 32)}, "size is [32, 32] here and was [64, 64]"),
    ],
)
def test_a_planted_difference_is_called_by_its_name(photos, change, words):
    rung = preprocessing_rung(golden(photos, spec()), spec(replace(HOW, **change), ("batch", 3, "h", "w")))
    assert not rung.passed
    assert words in rung.reason


def test_what_no_setting_explains_is_a_number(photos):
    turned = replace(golden(photos, spec()), raw=photos[:, ::-1])
    rung = preprocessing_rung(turned, spec())
    assert not rung.passed
    assert "of their spread" in rung.reason
    renamed = replace(golden(photos, spec()), prepared={"z": prepare(photos, spec())["x"]})
    assert "'z'" in preprocessing_rung(renamed, spec()).reason


def test_without_recorded_inputs_there_is_no_rung(photos):
    assert preprocessing_rung(replace(golden(photos, spec()), prepared={}), spec()) is None


def test_pillow_is_the_one_that_resizes(photos):
    """The rung compares what two installations make; here the other one is Pillow itself."""
    resized = np.stack(
        [np.asarray(Image.fromarray(photo).resize((64, 64), Image.Resampling.BILINEAR)) for photo in photos]
    )
    other = ((resized / 255 - HOW.mean) / HOW.std).transpose(0, 3, 1, 2).astype(np.float32)
    assert preprocessing_rung(replace(golden(photos, spec()), prepared={"x": other}), spec()).passed
