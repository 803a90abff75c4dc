"""Pruning a program: which weights go, that it still runs, and that every target starts from the pruned one."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from wherry.core.errors import BadInputError, UsageError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.core.variant import Target
from wherry.export.pruning import PruneJob, parse_pruning, prune_program
from wherry.export.request import ExportRequest
from wherry.export.run import _parent_request
from wherry.runtime.program import open_program


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    path = tmp_path_factory.mktemp("prune") / "program.pt2"
    torch.export.save(torch.export.export(network.eval(), (torch.zeros(1, 3, 8, 8),)), path)
    return path


def test_half_of_the_weights_go_and_the_smallest_first(program, tmp_path):
    out = tmp_path / "pruned.pt2"
    found = prune_program(PruneJob(program=str(program), pruning="unstructured:0.5", out=str(out)))
    assert (found.layers, found.zeros) == (2, 0.5)
    before, after = (open_program(path).state_dict for path in (program, out))
    weight, left = before["0.weight"], after["0.weight"]
    gone = left == 0
    assert weight[gone].abs().max() <= weight[~gone].abs().min()
    assert torch.equal(left[~gone], weight[~gone])
    assert torch.equal(after["1.weight"], before["1.weight"]), "a norm is no matrix"
    assert open_program(out).module()(torch.ones(1, 3, 8, 8)).shape == (1, 10)


def test_whole_channels_go_when_asked(program, tmp_path):
    out = tmp_path / "pruned.pt2"
    prune_program(PruneJob(program=str(program), pruning="structured:0.25", out=str(out)))
    channels = open_program(out).state_dict["0.weight"].flatten(1).abs().sum(dim=1)
    assert int((channels == 0).sum()) == 2


@pytest.mark.parametrize(
    "text", ["half", "unstructured", "unstructured:0", "structured:1", "random:0.5", "structured:x"]
)
def test_what_is_not_understood_says_how_to_write_it(text):
    with pytest.raises(UsageError, match="how to prune") as caught:
        parse_pruning(text)
    assert "unstructured:0.5" in caught.value.next_step


def test_a_network_without_matrices_is_refused(tmp_path):
    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(nn.ReLU(), (torch.zeros(1, 3),)), path)
    with pytest.raises(BadInputError, match="nothing to prune"):
        prune_program(PruneJob(program=str(path), pruning="unstructured:0.5", out=str(tmp_path / "out.pt2")))


def test_a_target_that_starts_from_another_starts_from_the_pruned_one():
    tensor = TensorSpec(name="x", dtype="float32", shape=("n", 4))
    null_request = ExportRequest(
        model="m",
        version=1,
        version_digest="a" * 64,
        spec=ModelSpec(task="null", inputs=(tensor,), outputs=(tensor,)),
        target=Target(format="null"),
        program="program.pt2",
        program_sha256="b" * 64,
    )
    pruned = replace(null_request, target=Target(format="openvino", options={"prune": "structured:0.5"}))
    assert pruned.target.name == "openvino-fp32+pruned"
    parent = _parent_request(pruned, "onnx-fp32", [null_request])
    assert parent.target == Target(format="onnx", options={"prune": "structured:0.5"})
    plain = _parent_request(replace(pruned, target=Target(format="openvino")), "onnx-fp32", [])
    assert plain.target == Target(format="onnx")
