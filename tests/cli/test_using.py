"""Answers as people read them, one for each task; masks as files; the choice's other inputs."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.null_road import fill
from wherry.cli import main as cli
from wherry.cli.compared import comparison_lines
from wherry.cli.using import _cells
from wherry.core.comparison import Comparison, Difference, Side, Speed
from wherry.core.errors import StorageError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.core.report import EngineInfo
from wherry.delivery.predicting import Prediction, _picture, describe, predict
from wherry.registry import Registry
from wherry.runtime.detect import Detection
from wherry.runtime.interface import NULL_CONTENT
from wherry.runtime.postprocess import Guess
from wherry.runtime.predictor import Opened, Predictor
from wherry.runtime.results import Classification, Detections, Embedding, Outputs, PolicyValue, Segmentation

TOP = (Guess(index=1, name="dog", probability=0.75), Guess(index=0, name="cat", probability=0.25))
MASK = np.zeros((4, 6), bool)
MASK[1:3, 1:3] = True
RESULTS = {
    "dog 75.0%": Classification(
        class_name="dog", class_index=1, confidence=0.75, probabilities=np.array([0.25, 0.75]), top=TOP
    ),
    "1 found": Detections(
        found=(Detection(box=(1.0, 1.0, 3.0, 3.0), score=0.9, index=0, name="fire", mask=MASK),), size=(4, 6)
    ),
    "": Segmentation(classes=MASK.astype(np.uint16), shares={"wall": 20 / 24, "shelf": 4 / 24}),
    "12 numbers": Embedding(vector=np.arange(12.0)),
    "move 1 75.0%": PolicyValue(move=1, probability=0.75, probabilities=np.array([0.25, 0.75]), top=TOP, value=-0.5),
    "y: [1.0, 2.0]": Outputs(tensors={"y": np.array([1.0, 2.0])}),
}
MORE = {
    "dog 75.0%": "cat 25.0%",
    "1 found": "fire 90.0% [1 1 3 3]",
    "": "wall 83.3%, shelf 16.7%",
    "12 numbers": "0, 1, 2, 3, 4, 5, 6, 7 and 4 more",
    "move 1 75.0%": "value -0.500",
    "y: [1.0, 2.0]": "",
}


@pytest.mark.parametrize("said", RESULTS)
def test_each_task_has_its_words(said):
    answer = describe(RESULTS[said])
    json.dumps(answer)
    assert _cells(Prediction(source="x", answer=answer)) == (said, MORE[said])


def test_a_batch_and_an_error():
    assert _cells(Prediction(source="x", answer={"batch": [{}, {}]}))[0] == "2 answers"
    assert _cells(Prediction(source="x", error="it is damaged")) == ("-", "it is damaged")


SHELVES = ModelSpec(
    task="segmentation",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 3, 8, 8)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 3, 8, 8)),),
    preprocessing=Preprocessing(kind="image", size=(8, 8)),
)


def test_masks_are_written_as_numbers(tmp_path):
    (tmp_path / "model.null").write_bytes(NULL_CONTENT)
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "a.png")
    out = tmp_path / "masks"
    with Predictor(Opened(name="m", main=tmp_path / "model.null", spec=SHELVES, engine="null")) as model:
        found = predict(model, [tmp_path / "a.png"], masks=out)
        assert found.predictions[0].answer["mask"] == str(out / "a.png")
        assert np.array_equal(
            np.asarray(Image.open(out / "a.png")), np.full((5, 7), 2)
        )  # the last plane is the largest
        with pytest.raises(StorageError):
            predict(model, [tmp_path / "a.png"], masks=tmp_path / "a.png")


def test_the_better_object_is_in_front():
    behind = Detection(box=(0.0, 0.0, 6.0, 4.0), score=0.5, index=0, name="fire", mask=np.ones((4, 6), bool))
    picture = _picture(Detections(found=(*RESULTS["1 found"].found, behind), size=(4, 6)))
    assert np.array_equal(picture, np.where(MASK, 1, 2))
    assert _picture(Detections(found=(), size=(4, 6))) is None


def side(name, p50, quality=None):
    engine = EngineInfo(engine="onnxruntime", version="1.31.1", device="cpu")
    return Side(
        name=name,
        version="m@v1",
        target="t",
        engine=engine,
        size_bytes=1000,
        proven=True,
        quality=quality,
        p50_ms=p50,
        ci95_ms=(p50, p50),
    )


def comparison(ratio, same=False, **changes):
    fields = {
        "left": side("a", 2.0, 0.9),
        "right": side("b", 1.0, 0.8),
        "examples": 10,
        "agreement": {"agreement": 0.5, "kl_nats": 0.1},
        "mean_confidence_drift": 0.01,
        "max_confidence_drift": 0.2,
        "quality": "accuracy",
        "input_difference": 0.5,
        "speed": Speed(ratio=ratio, ci95=(ratio * 0.8, ratio * 1.25), noise=0.02, same=same, calls=100),
        "differences": {"training": tuple(Difference(what=str(i), left="1", right="2") for i in range(15))},
        "notes": ("a note",),
    }
    return Comparison(**(fields | changes))


def test_a_comparison_in_sentences():
    lines = [line for line in comparison_lines(comparison(2.0)) if isinstance(line, str)]
    assert lines[0] == "Their answers agree on 50.00% of 10 examples (kl_nats 0.1)."
    assert lines[1] == "Confidence in an answer differs by 0.0100 on average, 0.2000 at most."
    assert lines[2] == "b is 2.000 x faster (95 % interval 1.600-2.500, A/A noise 2.0%)."
    assert lines[4] == "The same picture becomes another input: largest difference 0.5."
    assert lines[5:] == ["a note", "3 more differences: see --json."]
    slow = comparison_lines(comparison(0.5, agreement={}, mean_confidence_drift=None))
    assert "Both answered 10 examples." in slow
    assert "b is 2.000 x slower (95 % interval 1.600-2.500, A/A noise 2.0%)." in slow
    assert "Equally fast within noise: 1.010 x" in str(comparison_lines(comparison(1.01, same=True)))


def test_gates_and_another_device(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with Registry.open(tmp_path / "wherry-registry") as opened:
        fill(opened, tmp_path)
    for words in ("export m@v1 -t null-fp32", "prove m@v1", "bench m@v1 --seconds 0.05"):
        assert cli.run(words.split()) == 0
    (tmp_path / "gates.toml").write_text("[m]\nfps = 1\nmemory_gb = 8\n")
    assert cli.run(["choose", "m@v1", "--gates", "gates.toml"]) == 0
    (tmp_path / "gates.toml").write_text("[m]\nmiou = 0.5\n")
    assert cli.run(["choose", "m@v1", "--gates", "gates.toml"]) == 3
    assert "its proof has no miou" in capsys.readouterr().out
    assert cli.run(["device", "detect", "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)
    profile["cpu"] = "Cortex"
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    assert cli.run(["choose", "m@v1", "--device", "profile.json"]) == 0
    assert "and not on Cortex." in capsys.readouterr().out
    (tmp_path / "profile.json").write_text(json.dumps(profile | {"runtimes": {}}))
    assert cli.run(["choose", "m@v1", "--device", "profile.json", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["why_nots"][0]["reason"].startswith("the runtime null is not installed")
    assert cli.run(["choose", "m@v1", "--max-p95", "30"]) == 2
