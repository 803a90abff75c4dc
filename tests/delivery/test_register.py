"""From a checkpoint on disk to a version: the real torch, a tiny network, and everything that may be wrong with it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from wherry import delivery
from wherry.cli import main as cli
from wherry.core.codec import to_json
from wherry.core.errors import CheckpointError, NotFoundError, ScanRefusedError, SpecMismatchError
from wherry.core.model import Lineage, ModelSpec, TensorSpec
from wherry.proof.golden import GoldenSet
from wherry.proof.record import Examples
from wherry.registry import Registry

pytestmark = pytest.mark.slow

SPEC = ModelSpec(
    task="classification",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 4)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 3)),),
    class_names=("a", "b", "c"),
)


def build():
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(x)

    return Net()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("training") / "weights.pt"
    torch.save(build().state_dict(), path)
    return path


@pytest.fixture
def submission(checkpoint):
    raw = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    labels = np.arange(30) % 3
    return delivery.Submission(
        model="tiny",
        network=build,
        checkpoint=checkpoint,
        spec=SPEC,
        golden=Examples(raw=raw[:20], labels=labels[:20]),
        evaluation=Examples(raw=raw, labels=labels),
        lineage=Lineage(timestamp="t", training_images=20, new_images=20, dataset="d" * 64),
        metrics={"accuracy": 0.5},
    )


@pytest.fixture
def registry(tmp_path):
    with Registry.open(tmp_path / "registry") as opened:
        yield opened


def test_a_version_holds_program_golden_set_and_lineage(registry, submission):
    version, new = delivery.register(registry, submission, who="ana", why="first")
    assert new
    assert version.name == "tiny@v1"
    golden = GoldenSet.from_bytes(registry.read(version.golden.sha256))
    assert len(golden) == 20
    assert golden.references["y"].shape == (20, 3)
    assert version.evaluation is not None
    assert "torch" in version.tools
    again, new = delivery.register(registry, submission, who="ana", why="again")
    assert (again, new) == (version, False)
    renamed = replace(submission, spec=replace(SPEC, class_names=("x", "y", "z")))
    other, new = delivery.register(registry, renamed, who="ana", why="names")
    assert (other.number, new) == (2, True)


def test_a_spec_that_contradicts_the_network(registry, submission):
    wide = replace(SPEC, outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 3, 1)),))
    with pytest.raises(SpecMismatchError, match="task"):
        delivery.register(registry, replace(submission, spec=wide), who="a", why="b")
    four = replace(SPEC, outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 4)),), class_names=())
    with pytest.raises(SpecMismatchError):
        delivery.register(registry, replace(submission, spec=four), who="a", why="b")
    with pytest.raises(NotFoundError, match="poetry"):
        delivery.register(registry, replace(submission, spec=replace(SPEC, task="poetry")), who="a", why="b")
    assert registry.models() == []


def test_checkpoints_that_are_none(registry, submission, tmp_path, checkpoint):
    data = checkpoint.read_bytes()
    for name, content, error in (
        ("text.pt", b"this is not a checkpoint", CheckpointError),
        ("half.pt", data[: len(data) // 2], CheckpointError),
        ("foreign.pt", b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.", ScanRefusedError),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(error):
            delivery.register(registry, replace(submission, checkpoint=path), who="a", why="b")
    assert registry.models() == []


def test_the_verb_does_the_same(submission, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynets.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layer = torch.nn.Linear(4, 3)\n\n    def forward(self, x):\n        return self.layer(x)\n"
    )
    (tmp_path / "spec.json").write_bytes(to_json(SPEC))
    np.savez(tmp_path / "golden.npz", raw=submission.golden.raw, labels=submission.golden.labels)
    words = ["register", "tiny", str(submission.checkpoint), "--spec", "spec.json", "--golden", "golden.npz"]
    words += ["--why", "first", "--registry", "registry", "--json", "--evaluation", "golden.npz", "--product", "Tiny"]
    assert cli.run([*words, "--network", "mynets:Net"]) == 0
    assert json.loads(capsys.readouterr().out)["number"] == 1
    assert (tmp_path / "registry/models/tiny/v1/weights/Tiny.pt").exists()
    assert cli.run([*words, "--network", "mynets:Net"]) == 0
    assert cli.run([*words, "--network", "mynets"]) == 2
    assert cli.run([*words, "--network", "mynets:Nothing"]) == 4
    assert cli.run([*words, "--network", "no.such.module:x"]) == 4
