"""The hailo engine against a stand-in of HailoRT, and the numbers on the way to the chip and back."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wherry.core.errors import BadInputError, EngineError, ToolchainMissingError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.runtime.engines import engine_class
from wherry.runtime.hailo_tensors import decode_boxes, from_nms, to_chip
from wherry.runtime.preprocess import prepare

HOW = Preprocessing(kind="image", size=(4, 4), scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
IMAGE = TensorSpec(name="image", dtype="float32", shape=("batch", 3, 4, 4))
MAP = TensorSpec(name="map", dtype="float32", shape=("batch", 2, 4, 4))
SPEC = ModelSpec(task="segmentation", inputs=(IMAGE,), outputs=(MAP,), preprocessing=HOW)
RAW = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "fake_hailort"))
    monkeypatch.delitem(sys.modules, "hailo_platform", raising=False)
    import hailo_platform

    yield hailo_platform
    sys.modules.pop("hailo_platform", None)


def hef(folder: Path, outputs: dict, *, nms: bool = False, shape=(4, 4, 3), roles=None, dtype="uint8") -> Path:
    ends = [
        {
            "node": one["node"],
            "output": one.get("output", "map"),
            "role": one.get("role", "output"),
            "stride": one.get("stride"),
        }
        for one in outputs.values()
    ]
    plan = {
        "architecture": "hailo8",
        "calibration": {"dtype": dtype, "shape": list(shape)},
        "channels_last": False,
        "ends": ends,
        "input_shape": [1, 3, 4, 4],
        "nms": nms,
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "model.hef").write_text(json.dumps({"inputs": {"net/input_layer1": [4, 4, 3]}, "outputs": outputs}))
    return folder / "model.hef"


PLAIN = {"net/conv1": {"node": "n_map", "shape": [4, 4, 2]}}


def test_without_the_runtime_it_says_so(tmp_path: Path):
    assert engine_class("hailo").unsupported() == "The runtime hailo is not installed."
    with pytest.raises(ToolchainMissingError, match="not installed"):
        engine_class("hailo")(tmp_path / "model.hef", SPEC)


def test_the_chip_sees_the_raw_pixels_and_the_answer_is_channels_first(tmp_path: Path, chip):
    chip.SEEN.clear()
    with engine_class("hailo")(hef(tmp_path, PLAIN), SPEC, batch=1) as engine:
        found = engine.run(prepare(RAW, SPEC))["map"]
        assert set(chip.OPEN) == {"VDevice", "InferVStreams", "_Activated"}
        assert engine.info().device == "hailo8"
    assert chip.OPEN == []
    assert np.array_equal(np.concatenate(chip.SEEN), RAW)
    means = RAW.reshape(3, -1).mean(axis=1)
    ramp = np.arange(32).reshape(4, 4, 2).transpose(2, 0, 1)
    np.testing.assert_allclose(found, means[:, None, None, None] + ramp, rtol=1e-6)


def test_what_hailort_would_cast_to_zeros_is_refused(tmp_path: Path, chip):
    with engine_class("hailo")(hef(tmp_path, PLAIN), SPEC, batch=1) as engine:
        for wrong in (prepare(RAW, SPEC)["image"] / 255, prepare(RAW, SPEC)["image"] * 3):
            with pytest.raises(BadInputError, match="whole pixels from 0 to 255"):
                engine.run({"image": wrong.astype(np.float32)})


def test_files_that_do_not_fit_are_engine_errors(tmp_path: Path, chip):
    engine = engine_class("hailo")
    (tmp_path / "model.zip").write_bytes(b"kit")
    with pytest.raises(EngineError, match=r"model\.zip is a kit for Hailo's compiler"):
        engine(tmp_path / "model.zip", SPEC)
    with pytest.raises(EngineError, match="the plan says"):
        engine(hef(tmp_path, PLAIN, shape=(8, 8, 3)), SPEC)
    path = hef(tmp_path, PLAIN)
    path.write_bytes(b"garbage")
    with pytest.raises(EngineError, match="invalid HEF"):
        engine(path, SPEC)
    path = hef(tmp_path, PLAIN)
    path.write_text(path.read_text().replace("n_map", "n_other"))
    with pytest.raises(EngineError, match="no stream of n_map"):
        engine(path, SPEC)
    assert chip.OPEN == []


def detection(anchors) -> ModelSpec:
    outputs = (
        TensorSpec(name="boxes", dtype="float32", shape=("batch", 4, anchors)),
        TensorSpec(name="scores", dtype="float32", shape=("batch", 2, anchors)),
    )
    return replace(SPEC, task="detection", outputs=outputs)


def test_boxes_of_the_chips_own_suppression(tmp_path: Path, chip):
    rows = [[[0.0, 0.5, 0.5, 1.0, 0.25]], [[0.25, 0.0, 0.75, 1.0, 0.75]]]
    path = hef(tmp_path, {"net/nms": {"node": "x", "shape": [2, 5, 3], "nms": rows}}, nms=True)
    with engine_class("hailo")(path, detection(20), batch=1) as engine:
        found = engine.run(prepare(RAW, SPEC))
    assert found["boxes"].shape == (3, 4, 20)
    np.testing.assert_allclose(found["boxes"][0, :, :2].T, [[2, 2, 4, 2], [3, 1, 2, 2]])
    np.testing.assert_allclose(found["scores"][0, :, :2], [[0, 0.25], [0.75, 0]])
    assert not found["scores"][:, :, 2:].any()
    with engine_class("hailo")(path, detection("anchors"), batch=1) as engine:
        assert engine.run(prepare(RAW, SPEC))["boxes"].shape == (3, 4, 300)
    boxes, scores = from_nms([rows], (4, 4), 1)
    assert (boxes.shape, float(scores[0, 1, 0])) == ((1, 4, 1), 0.75)


def test_boxes_that_the_host_decodes(tmp_path: Path, chip):
    outputs = {
        "net/b": {"node": "b", "output": "boxes", "role": "boxes", "stride": 2, "shape": [2, 2, 8]},
        "net/s": {"node": "s", "output": "scores", "role": "scores", "stride": 2, "shape": [2, 2, 2]},
    }
    with engine_class("hailo")(hef(tmp_path, outputs), detection(4), batch=1) as engine:
        found = engine.run(prepare(RAW, SPEC))
    side = np.exp(1) / (1 + np.exp(1))  # two bins whose logits differ by one
    np.testing.assert_allclose(found["boxes"][0, 2:], np.full((2, 4), 4 * side), rtol=1e-5)
    np.testing.assert_allclose(found["boxes"][0, :2].T, [[1, 1], [3, 1], [1, 3], [3, 3]], atol=1e-4)
    assert found["scores"].shape == (3, 2, 4)


def test_measurements_go_as_numbers_and_sequences_get_a_height():
    how = Preprocessing(mean=(1.0, 2.0), std=(3.0, 4.0), layout="NHWC")
    raw = np.random.default_rng(0).normal(size=(5, 7, 2)).astype(np.float32)
    prepared = ((raw - [1, 2]) / [3, 4]).astype(np.float32)
    found = to_chip(prepared, how, dtype="float32", channels_last=True)
    assert (found.shape, found.dtype) == ((5, 1, 7, 2), np.float32)
    np.testing.assert_allclose(found[:, 0], raw, atol=1e-6)
    first = replace(how, layout="NCHW")
    turned = to_chip(prepared.transpose(0, 2, 1), first, dtype="float32", channels_last=False)
    np.testing.assert_allclose(turned, found, atol=1e-6)


def test_a_distribution_with_one_peak_is_a_distance():
    logits = np.full((1, 1, 1, 16), -50.0, dtype=np.float32)
    logits[0, 0, 0, [0 + 1, 4 + 2, 8 + 3, 12 + 0]] = 50.0  # left 1, top 2, right 3, bottom 0 cells
    box = decode_boxes({8: logits})[0, :, 0]
    np.testing.assert_allclose(box, [(0.5 + (3 - 1) / 2) * 8, (0.5 + (0 - 2) / 2) * 8, 4 * 8, 2 * 8])
