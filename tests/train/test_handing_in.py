"""What a training script leaves is what `wherry register` reads, and the score is the task's own."""

import numpy as np
import pytest
import torch

from wherry.cli.documents import read_examples, read_lineage, read_spec
from wherry.core.model import Lineage, ModelSpec, Preprocessing, TensorSpec
from wherry.proof.record import Examples
from wherry.train.handing_in import CHECKPOINT, answers, hand_in, score

SPEC = ModelSpec(
    task="classification",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 3)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 3)),),
    preprocessing=Preprocessing(scale=2.0),
    class_names=("a", "b", "c"),
)
LINEAGE = Lineage(timestamp="2026-01-01T00:00:00+00:00", training_images=3, new_images=3)


@pytest.fixture
def network():
    layer = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Dropout(0.9))
    with torch.no_grad():
        layer[0].weight.copy_(torch.eye(3))
    return layer.train()


def test_the_folder_holds_what_register_reads(tmp_path, network):
    from safetensors.torch import load_file

    golden = Examples(raw=np.eye(3, dtype=np.float32), labels=np.arange(3), class_names=SPEC.class_names)
    bare = Examples(raw=np.ones((2, 3), np.float32))
    hand_in(tmp_path / "run", network, SPEC, LINEAGE, {"golden": golden, "calibration": bare})
    folder = tmp_path / "run"
    assert read_spec(folder / "spec.json") == SPEC
    assert read_lineage(folder / "lineage.json") == LINEAGE
    found = read_examples(folder / "golden.npz")
    assert found.class_names == SPEC.class_names
    assert (found.raw == golden.raw).all()
    assert (found.labels == golden.labels).all()
    assert read_examples(folder / "calibration.npz").labels is None
    weights = load_file(folder / CHECKPOINT)
    assert list(weights) == ["0.weight"]
    assert torch.equal(weights["0.weight"], torch.eye(3))


def test_the_score_prepares_the_examples_and_runs_in_evaluation_mode(network):
    raw = np.repeat(np.eye(3, dtype=np.float32), 50, axis=0)
    right = np.repeat(np.arange(3), 50)
    given = answers(network, SPEC, Examples(raw=raw))
    assert (given["y"] == raw * 2).all()  # scaled by the preprocessing, and nothing dropped out
    assert score(network, SPEC, Examples(raw=raw, labels=right))["accuracy"] == 1.0
    assert score(network, SPEC, Examples(raw=raw, labels=(right + 1) % 3))["accuracy"] == 0.0
    assert score(network, SPEC, Examples(raw=raw)) == {}
    assert network.training
