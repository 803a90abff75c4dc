"""Checkpoints that hold or name their network become versions without a factory, by function and by verb."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.checkpoint import nets
from wherry import delivery
from wherry.checkpoint.describe import Description
from wherry.cli import main as cli
from wherry.core.errors import ScanRefusedError, SpecMismatchError
from wherry.core.model import Lineage
from wherry.delivery.versions import CAPTURED
from wherry.proof.golden import GoldenSet
from wherry.proof.record import Examples
from wherry.registry import Registry

pytestmark = pytest.mark.slow
RAW = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)


@pytest.fixture
def registry(tmp_path):
    with Registry.open(tmp_path / "registry") as opened:
        yield opened


@pytest.fixture
def encoder(tmp_path):
    torch.manual_seed(0)
    net = nets.Autoencoder().eval()
    torch.save({"state_dict": {f"model.{key}": value for key, value in net.state_dict().items()}}, tmp_path / "x.ckpt")
    submission = delivery.Submission(
        model="encoder",
        network=nets.Autoencoder,
        submodule="parts.encoder",
        checkpoint=tmp_path / "x.ckpt",
        spec=Description(task="embedding", input_shape=(6,)),
        golden=Examples(raw=RAW),
        lineage=Lineage(timestamp="t", training_images=8, new_images=8, facts={"lr": 0.1}),
    )
    return submission, net


def test_a_part_is_registered_with_what_was_done_to_it(registry, encoder):
    submission, net = encoder
    version, new = delivery.register(registry, submission, who="a", why="b")

    assert new
    assert version.lineage.facts["lr"] == 0.1
    assert version.lineage.facts[CAPTURED] == {"submodule": "parts.encoder"}
    notes = " ".join(version.lineage.facts[delivery.NOTES])
    assert "'model.'" in notes
    assert "folded" in notes
    golden = GoldenSet.from_bytes(registry.read(version.golden.sha256))
    expected = net.parts["encoder"](torch.from_numpy(RAW)).detach().numpy()
    assert np.allclose(golden.references["embedding"], expected, atol=1e-6)

    assert delivery.register(registry, submission, who="a", why="b") == (version, False)
    whole, new = delivery.register(registry, replace(submission, submodule=""), who="a", why="b")
    assert (whole.number, new) == (2, True)


def test_what_is_registered_already_is_not_opened_again(registry, encoder, monkeypatch):
    submission, _ = encoder
    version, _ = delivery.register(registry, submission, who="a", why="b")
    monkeypatch.setattr("wherry.checkpoint.opening.open_checkpoint", lambda *_, **__: pytest.fail("it was opened"))

    again = replace(submission, spec=version.spec)

    assert delivery.register(registry, again, who="a", why="b") == (version, False)


def test_a_whole_network_by_the_verb(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)), "net.pt")
    np.savez("golden.npz", raw=RAW, labels=np.arange(8) % 3)
    Path("names.txt").write_text("cat\ndog\n\nhorse\n")
    words = ["register", "whole", "net.pt", "--golden", "golden.npz", "--why", "w", "--registry", "registry"]
    words += ["--task", "classification", "--input-shape", "6"]

    assert cli.run([*words, "--class-names", "names.txt"]) == 3
    assert "--allow-pickled-module" in capsys.readouterr().err
    words.append("--allow-pickled-module")
    assert cli.run([*words, "--classes", "5"]) == 4
    assert "gives 3 classes in 'logits', and 5 were named" in capsys.readouterr().err
    assert cli.run([*words, "--class-names", "names.txt", "--json"]) == 0
    spec = json.loads(capsys.readouterr().out)["spec"]
    assert spec["class_names"] == ["cat", "dog", "horse"]
    assert spec["postprocessing"] == "softmax"
    assert spec["outputs"][0]["shape"] == ["batch", 3]
    assert cli.run([*words, "--class-names", "names.txt", "--submodule", "0"]) == 4
    assert "gives 4 classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ([], 2),
        (["--task", "classification"], 4),
        (["--task", "classification", "--input-size", "12", "--input-shape", "6"], 4),
        (["--task", "classification", "--input-size", "axb"], 2),
        (["--task", "classification", "--input-size", "0"], 2),
        (["--task", "classification", "--input-shape", "1x2x3", "--spec", "spec.json"], 2),
        (["--task", "classification", "--input-size", "12", "--preset", "best"], 2),
        (["--task", "classification", "--input-size", "12", "--channels", "4"], 2),
        (["--task", "classification", "--input-size", "12", "--mean", "a,b"], 2),
        (["--task", "classification", "--input-size", "12", "--mean", "0.5,0.5"], 4),
        (["--task", "poetry", "--input-shape", "6"], 4),
        (["--task", "classification", "--input-shape", "6", "--class-names", "nothing.txt"], 4),
        (["--task", "classification", "--input-shape", "6", "--network", "timm:"], 4),
    ],
)
def test_words_that_do_not_fit(more, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save(torch.nn.Linear(6, 3).state_dict(), "net.pt")
    np.savez("golden.npz", raw=RAW)
    words = ["register", "whole", "net.pt", "--golden", "golden.npz", "--why", "w", "--registry", "registry"]
    assert cli.run([*words, *more]) == code
    assert "wherry: " in capsys.readouterr().err


def test_images_get_the_preprocessing_that_was_named(registry, tmp_path):
    torch.manual_seed(0)
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)), tmp_path / "x.pt")
    raw = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    submission = delivery.Submission(
        model="images",
        checkpoint=tmp_path / "x.pt",
        spec=Description(task="classification", input_size=(4, 4), preset="imagenet"),
        golden=Examples(raw=raw),
        lineage=Lineage(timestamp="t", training_images=4, new_images=4),
    )
    with pytest.raises(ScanRefusedError):
        delivery.register(registry, submission, who="a", why="b")
    trusted = replace(submission, trust_pickle=True)
    version, _ = delivery.register(registry, trusted, who="a", why="b")
    preprocessing = version.spec.preprocessing
    assert (preprocessing.kind, preprocessing.size, preprocessing.scale) == ("image", (4, 4), 1 / 255)
    assert preprocessing.mean == (0.485, 0.456, 0.406)
    with pytest.raises(SpecMismatchError, match="refuses an input of"):
        delivery.register(registry, replace(trusted, spec=replace(trusted.spec, input_size=(5, 5))), who="a", why="b")
