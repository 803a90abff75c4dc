"""The `.pt` that opens with weights_only and runs: what is in it, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from wherry.core.errors import EngineError, ScanRefusedError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.runtime.engines import engine_class
from wherry.runtime.packed import is_packed, open_packed, pack

pytestmark = pytest.mark.slow
SPEC = ModelSpec(
    task="embedding",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("n", 64)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("n", 8)),),
)
DATA = np.random.default_rng(0).standard_normal((3, 64), np.float32)


def program():
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.BatchNorm1d(512), torch.nn.Linear(512, 8)).eval()
    shapes = ({0: torch.export.Dim("n")},)
    return torch.export.export(net, (torch.zeros(2, 64),), dynamic_shapes=shapes)


def packed(*, half: bool = False) -> dict:
    return pack(program(), architecture={"digest": "d"}, metadata={"model": "m"}, half=half)


def save(folder: Path, content: dict) -> Path:
    import torch

    path = folder / "model.pt"
    torch.save(content, path)
    return path


def run(path: Path) -> np.ndarray:
    with engine_class("torch")(path, SPEC) as engine:
        return engine.run({"x": DATA})["y"]


def test_it_holds_the_weights_once_under_their_own_names_and_runs(tmp_path: Path):
    import torch

    path = save(tmp_path, packed())
    opened = torch.load(path, weights_only=True)
    assert (opened["format"], opened["schema"], opened["precision"]) == ("wherry-pytorch", 1, "fp32")
    original = program()
    assert opened["state_dict"].keys() == original.state_dict.keys()
    assert all(torch.equal(value, original.state_dict[name]) for name, value in opened["state_dict"].items())
    assert (opened["architecture"]["digest"], opened["metadata"]) == ("d", {"model": "m"})
    weights = sum(value.nbytes for value in opened["state_dict"].values())
    assert path.stat().st_size < weights + opened["architecture"]["graph"].nbytes + 10_000
    assert opened["architecture"]["graph"].nbytes < 40_000
    np.testing.assert_allclose(run(path), original.module()(torch.from_numpy(DATA)).detach().numpy(), atol=1e-6)


def test_half_precision_is_half_the_bytes_and_near(tmp_path: Path):
    import torch

    whole, half = save(tmp_path, packed()), tmp_path / "half.pt"
    expected, size = run(whole), whole.stat().st_size
    torch.save(packed(half=True), half)
    stored = torch.load(half, weights_only=True)["state_dict"]
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float16}
    assert size - half.stat().st_size > 70_000
    found = run(half)
    assert not np.array_equal(found, expected)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_a_weight_that_overflows_half_precision_is_refused():
    import torch

    large = program()
    large.state_dict["0.weight"] = torch.nn.Parameter(large.state_dict["0.weight"].detach() * 1e9)
    with pytest.raises(EngineError, match=r"'0\.weight' holds .* does not fit into half precision"):
        pack(large, architecture={}, metadata={}, half=True)


def spoil_names(content: dict) -> None:
    content["state_dict"]["more"] = content["state_dict"].pop("0.weight")


def spoil_shape(content: dict) -> None:
    content["state_dict"]["0.bias"] = content["state_dict"]["0.bias"][:3]


def spoil_schema(content: dict) -> None:
    content["schema"] = 2


def spoil_graph(content: dict) -> None:
    content["architecture"]["graph"] = content["architecture"]["graph"][:100]


def lose_graph(content: dict) -> None:
    del content["architecture"]["graph"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_names, "other weights than its graph needs"),
        (spoil_shape, r"holds '0\.bias' of shape \[3\], and its graph needs \[512\]"),
        (spoil_schema, "no wherry-pytorch file of schema 1"),
        (spoil_graph, r"The graph in model\.pt is not a program"),
        (lose_graph, "lacks its weights or its graph"),
    ],
)
def test_what_does_not_fit_together_is_refused(spoil, words: str, tmp_path: Path):
    content = packed()
    spoil(content)
    with pytest.raises(EngineError, match=words):
        open_packed(save(tmp_path, content))


def test_a_graph_with_more_than_a_graph_is_refused(tmp_path: Path):
    import io

    import torch
    from torch.export.pt2_archive._package import PT2ArchiveWriter

    content, archive = packed(), io.BytesIO()
    with PT2ArchiveWriter(archive) as writer:
        writer.write_bytes("data/aotinductor/model/evil.so", b"code")
    content["architecture"]["graph"] = torch.frombuffer(bytearray(archive.getvalue()), dtype=torch.uint8)
    with pytest.raises(ScanRefusedError, match=r"evil\.so"):
        open_packed(save(tmp_path, content))


def test_a_file_with_code_is_not_opened(tmp_path: Path):
    import torch

    path = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    assert is_packed(path)
    with pytest.raises(EngineError, match="more than tensors and plain values") as caught:
        open_packed(path)
    assert "weights_only" not in caught.value.message
