"""`wherry.load` and `wherry predict` over a registry of the null target."""

import json

import numpy as np
import pytest

import wherry
from wherry import delivery
from wherry.cli import main as cli
from wherry.core.codec import to_json
from wherry.core.errors import BadInputError, NotFoundError, ProofRefusedError
from wherry.core.variant import Target
from wherry.registry import tree

ROW = np.array([1, 2, 3, 6], np.float32)


@pytest.fixture
def proven(registry):
    for ref in ("m@v1", "m@v2"):
        delivery.export(registry, ref, [Target(format="null")])
        delivery.prove(registry, ref)
    tree.refresh(registry, "m", "Ember")
    return registry


def answer(model):
    return float(model.predict(ROW).tensors["y"][0])


def test_a_version(proven):
    with wherry.load("m@v1", registry=proven) as model:
        assert answer(model) == pytest.approx(3.0)
        assert model.name == "m@v1 null-fp32"
        laid_out = model._engine
    with wherry.load("m@v1", registry=proven.root, target="null-fp32") as model:
        assert answer(model) == pytest.approx(3.0)
        assert model._engine is not laid_out
    delivery.bench(proven, "m@v1", seconds=0.05)
    with delivery.load("m@v1", registry=proven, running=delivery.Running(threads=2)) as model:
        assert model.info.options["threads"] == 2


def test_what_has_no_proof_is_not_loaded(proven):
    with pytest.raises(ProofRefusedError, match="no proven variant"):
        wherry.load("m@v2", registry=proven)
    with pytest.raises(ProofRefusedError, match="no passed proof"):
        wherry.load("m@v2", registry=proven, target="null-fp32")
    with pytest.raises(NotFoundError):
        wherry.load("m@v9", registry=proven)


def test_files_of_the_tree(proven, tmp_path):
    models = proven.root / "models" / "m"
    with wherry.load(models / "exports" / "v1" / "Ember.null") as model:
        assert (model.name, answer(model)) == ("m@v1 null-fp32", pytest.approx(3.0))
    cached = next((proven.root / "cache").rglob("*.null"))  # not in the tree: found by its content alone
    with wherry.load(cached) as model:
        assert answer(model) == pytest.approx(3.0)
    with pytest.raises(BadInputError, match="what m@v1 was made of"):
        wherry.load(models / "v1" / "weights" / "Ember.pt")
    with pytest.raises(BadInputError, match="not the main file"):
        wherry.load(models / "v1" / "metadata.json")


def test_files_from_elsewhere(proven, tmp_path):
    stray = tmp_path / "stray.null"
    stray.write_bytes(proven.read(proven.variant("m", 1, "null-fp32").files[0].sha256))
    with pytest.raises(BadInputError, match="lies in no registry"):
        wherry.load(stray)
    spec = proven.version("m@v1").spec
    (tmp_path / "spec.json").write_bytes(to_json(spec))
    for given in (spec, tmp_path / "spec.json"):
        with wherry.load(stray, spec=given) as model:
            assert answer(model) == pytest.approx(3.0)
    stray.rename(tmp_path / "stray.xyz")
    with pytest.raises(BadInputError, match="does not say what runs it"):
        wherry.load(tmp_path / "stray.xyz", spec=spec)
    with wherry.load(tmp_path / "stray.xyz", spec=spec, engine="null") as model:
        assert answer(model) == pytest.approx(3.0)
    with pytest.raises(NotFoundError):
        wherry.load(tmp_path / "stray.xyz", spec=tmp_path / "gone.json")
    with pytest.raises(NotFoundError):
        wherry.load(tmp_path / "gone.onnx")
    (tmp_path / "device.json").write_text("{}")
    with pytest.raises(BadInputError, match="a device's folder") as refused:
        wherry.load(tmp_path)
    assert "wherry.agent.load" in refused.value.next_step


def test_the_verb(proven, tmp_path, capsys):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    np.save(inputs / "one.npy", ROW)
    np.save(inputs / "two.npy", np.stack([ROW, ROW]))
    words = ["predict", "m@v1", str(inputs), "--registry", str(proven.root)]
    assert cli.run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["predictions"][0]["answer"]["outputs"]["y"][0] == pytest.approx(3.0)
    assert len(found["predictions"][1]["answer"]["batch"]) == 2
    (inputs / "three.txt").write_text("no array")
    assert cli.run(words) == 4
    captured = capsys.readouterr()
    assert "one.npy" in captured.out
    assert "1 of 3 examples could not be used" in captured.err
