"""Accuracy control on a trained network with a planted layer whose ranges eight bits cannot hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from wherry.core.errors import ExportError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.core.variant import Target
from wherry.export.accuracy import AccuracyGoal
from wherry.export.calibration import calibration_from_arrays
from wherry.export.child import file_ref
from wherry.export.damage import rank_layers
from wherry.export.interface import Source
from wherry.export.lint import LintJob, lint_file
from wherry.export.onnxwriting import write_onnx
from wherry.export.quantize import controlled
from wherry.export.targets import exporter_class
from wherry.proof.golden import GoldenSet
from wherry.proof.record import Examples, record

pytestmark = pytest.mark.slow
SPEC = ModelSpec(
    task="classification",
    inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 10)),),
    class_names=tuple("0123456789"),
)


class Planted(torch.nn.Module):
    """Two channels of ten thousand that cancel in the layer after: in float nothing, in eight bits everything."""

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
        self.hidden = torch.nn.Linear(128, 32)
        self.planted = torch.nn.Linear(34, 32)
        self.head = torch.nn.Linear(32, 10)
        self.register_buffer("huge", torch.zeros(1))

    def forward(self, x):
        x = torch.relu(self.hidden(self.features(x).flatten(1)))
        huge = x.mean(1, keepdim=True) * self.huge
        x = torch.relu(self.planted(torch.cat([x, huge, huge], 1)))
        return self.head(x)


def trained(images, labels) -> Planted:
    torch.manual_seed(0)
    net = Planted()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    with torch.no_grad():
        net.planted.weight[:, 32] = 0.01
        net.planted.weight[:, 33] = -0.01
        net.huge.fill_(10_000.0)
    return net.eval()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("planted")
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    net = trained(torch.from_numpy(images[:1200]), torch.from_numpy(labels[:1200]))
    axes = ({0: torch.export.Dim("batch")},)
    program = folder / "program.pt2"
    torch.export.save(torch.export.export(net, (torch.rand(2, 1, 8, 8),), dynamic_shapes=axes), program)
    golden = record(program, SPEC, Examples(raw=images[1300:], labels=labels[1300:]))
    (folder / "evaluation.npz").write_bytes(golden.to_bytes())
    calibration_from_arrays(images[:100], labels[:100], SPEC.class_names, "digits", folder / "calibration.npz")
    write_onnx(program, SPEC, 18, folder / "model.onnx")
    return Source(
        model="digits",
        version=1,
        spec=SPEC,
        program=program,
        parent=folder / "model.onnx",
        calibration=folder / "calibration.npz",
        accuracy=AccuracyGoal(
            evaluation=str(folder / "evaluation.npz"), sha256=file_ref(folder, "evaluation.npz").sha256
        ),
    )


@pytest.mark.parametrize("format_", ["onnx", "openvino"])
def test_the_planted_layer_is_found_and_returned_to_float(source: Source, format_: str, tmp_path: Path):
    target = Target(format=format_, precision="int8")
    written = exporter_class(format_)().export(source, target, tmp_path)
    report = written.effective["accuracy_control"]
    assert (report["metric"], report["labelled"], report["samples"]) == ("accuracy", True, 497)
    assert report["reference"] > 0.8
    assert report["before"] < report["reference"] - 0.1
    assert report["met"]
    assert report["after"] >= report["reference"] - 0.01
    layers = [entry["layer"] for entry in report["layers_left_in_float"]]
    assert "planted" in layers
    assert len(layers) < report["layers"]
    assert 0 < report["price"]["eight_bit_share"] < report["price"]["eight_bit_share_all_int8"]
    assert report["trials"][0] == {"left_in_float": 0, "metric": report["before"]}
    assert (tmp_path / "deployment_metadata.json").is_file()
    assert any("Mixed ranges" in warning for warning in written.effective["warnings"])


def test_the_planted_layer_is_the_most_damaged(source: Source, tmp_path: Path):
    from wherry.export.calibration_batches import prepared_batches

    batches = list(prepared_batches(source.calibration, SPEC, most=16))
    ranked = rank_layers(Path(source.parent or ""), batches, tmp_path)
    noisy = [damage.layer for damage in ranked if damage.noise > 0.1]
    assert "planted" in noisy
    assert {"features.0", "head"}.isdisjoint(noisy)


def test_the_linter_sees_it_coming(source: Source):
    job = LintJob(path=str(source.parent), spec=SPEC, calibration=str(source.calibration))
    (mixed,) = [finding for finding in lint_file(job) if finding.kind == "Mixed ranges in one tensor"]
    assert "under one scale" in mixed.why
    assert lint_file(replace(job, calibration=None)) == []


def test_a_goal_that_cannot_be_met_is_refused_with_the_numbers(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(controlled, "rank_layers", lambda *_: [])
    with pytest.raises(ExportError, match=r"onnx-int8 loses [0-9.]+ points of accuracy .* and 1 are allowed") as caught:
        exporter_class("onnx")().export(source, Target(format="onnx", precision="int8"), tmp_path)
    assert "--max-drop" in (caught.value.next_step or "")


def test_without_labels_the_best_is_taken_and_said(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert source.accuracy is not None
    labelled = GoldenSet.from_bytes(Path(source.accuracy.evaluation).read_bytes())
    bare = tmp_path / "bare.npz"
    bare.write_bytes(GoldenSet(raw=labelled.raw, references=labelled.references).to_bytes())
    goal = AccuracyGoal(evaluation=str(bare), sha256=file_ref(tmp_path, "bare.npz").sha256, max_drop=0.01)
    monkeypatch.setattr(controlled, "rank_layers", lambda *_: [])
    (tmp_path / "out").mkdir()
    asked = replace(source, accuracy=goal)
    written = exporter_class("onnx")().export(asked, Target(format="onnx", precision="int8"), tmp_path / "out")
    report = written.effective["accuracy_control"]
    assert (report["metric"], report["labelled"], report["met"]) == ("agreement", False, False)
    assert report["reference"] == 1.0
