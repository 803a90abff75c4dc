"""`wherry compare` over versions of the null target, and the differences of their documents."""

import json
import zipfile
from dataclasses import replace

import pytest

from wherry import delivery
from wherry.cli import main as cli
from wherry.core.comparison import Difference
from wherry.core.errors import NotFoundError
from wherry.core.model import Preprocessing
from wherry.core.variant import Target
from wherry.delivery.differences import differing, of_specs, of_versions, program_operators


@pytest.fixture
def exported(registry):
    for ref in ("m@v1", "m@v2"):
        delivery.export(registry, ref, [Target(format="null")])
    delivery.prove(registry, "m@v1")
    return registry


def test_two_versions(exported):
    found = delivery.compare(exported, "m@v1:null-fp32", "m@v2", seconds=0.05)
    assert (found.left.name, found.right.name) == ("m@v1 null-fp32", "m@v2 null-fp32")
    assert (found.left.proven, found.right.proven) == (True, False)
    assert found.agreement["agreement"] == 1.0
    assert found.examples == 130
    assert found.input_difference == 0.0
    assert found.differences == {}
    assert found.left.size_bytes > 0


def test_the_verb(exported, capsys):
    words = ["compare", "m@v1:null-fp32", "m@v2:null-fp32", "--seconds", "0.05", "--registry", str(exported.root)]
    assert cli.run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["agreement"]["agreement"] == 1.0
    assert cli.run(words) == 0
    printed = capsys.readouterr().out
    assert "Their answers agree on 100.00% of 130 examples" in printed
    assert "1.000 x the size" in printed
    assert cli.run(["compare", "m@v1", "m@v9", "--registry", str(exported.root)]) == 4
    with pytest.raises(NotFoundError):
        delivery.compare(exported, "m@v1:onnx-fp32", "m@v2")


def test_documents_differ_leaf_by_leaf():
    assert differing({"a": {"b": 1, "c": [1]}}, {"a": {"b": 2, "c": [1]}, "d": None}) == (
        Difference(what="a.b", left="1", right="2"),
    )
    assert differing({"a": 1}, {}) == (Difference(what="a", left="1", right="-"),)
    (long,) = differing({"a": "x" * 100}, {"a": "y"})
    assert (len(long.left), long.left[-1]) == (60, "…")


def test_specs(exported):
    spec = exported.version("m@v1").spec
    named = replace(spec, class_names=("a", "b", "c"))
    swapped = replace(named, class_names=("b", "a", "c"), preprocessing=Preprocessing(mean=(0.5,)))
    found = of_specs(named, swapped)
    assert [row.what for row in found["classes"]] == ["order: 2 of 3 classes stand elsewhere"]
    assert found["preprocessing"] == (Difference(what="mean", left="[0.0]", right="[0.5]"),)
    (row,) = of_specs(named, replace(named, class_names=("a", "b", "d")))["classes"]
    assert (row.left, row.right) == ('["c"]', '["d"]')
    (output,) = spec.outputs
    wide = replace(spec, outputs=(replace(output, shape=("batch", 9)),))
    assert of_specs(spec, wide)["signature"] == (
        Difference(what="outputs.y.shape", left='["batch", 3]', right='["batch", 9]'),
    )


def test_layers_and_training(exported, tmp_path):
    version = exported.version("m@v1")
    other = replace(version, architecture="f" * 64, lineage=replace(version.lineage, total_epochs=7))
    programs = []
    for name, count in (("a", 1), ("b", 3)):
        nodes = [{"target": "torch.ops.aten.conv2d.default"}] * count + [{"target": "torch.ops.aten.relu.default"}]
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("archive/models/model.json", json.dumps({"graph_module": {"graph": {"nodes": nodes}}}))
        programs.append(tmp_path / name)
    found = of_versions(version, other, programs)
    assert [(row.what, row.left, row.right) for row in found["layers"]] == [
        ("architecture", version.architecture[:12], "f" * 12),
        ("operators.aten.conv2d.default", "1", "3"),
    ]
    assert [row.what for row in found["training"]] == ["total_epochs"]
    (tmp_path / "c").write_bytes(b"no program")
    assert program_operators(tmp_path / "c") == {}
