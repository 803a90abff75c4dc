"""ONNX files in old and new opsets: valid, in the opset that was asked for, right for sizes that were not captured."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from wherry.core.errors import ExportError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.export.onnxfile import module_of, opset_of
from wherry.export.onnxwriting import write_onnx

pytestmark = pytest.mark.slow
BATCH, HEIGHT, WIDTH = (torch.export.Dim(name) for name in ("batch", "height", "width"))


class Net(torch.nn.Module):
    """What opset 11 has no single operator for: SiLU, hard-swish, GELU, layer norm, resizing to a computed size."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = torch.nn.Sequential(torch.nn.Linear(8, 5), torch.nn.LayerNorm(5))

    def forward(self, x):
        x = torch.nn.functional.silu(self.norm(self.conv(x)))
        x = torch.nn.functional.interpolate(x, size=(x.shape[2] * 2, x.shape[3] * 2), mode="bilinear")
        x = torch.nn.functional.hardswish(self.depthwise(x)).reshape(x.shape[0], 8, -1)
        return self.head(torch.nn.functional.gelu(x.mean(2)))


class Sampled(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.grid_sample(x, x.permute(0, 2, 3, 1)[..., :2], align_corners=False)


def spec_of(shape, answer) -> ModelSpec:
    one = TensorSpec(name="image", dtype="float32", shape=shape)
    return ModelSpec(
        task="classification", inputs=(one,), outputs=(TensorSpec(name="y", dtype="float32", shape=answer),)
    )


SPEC = spec_of(("batch", 3, "height", "width"), ("batch", 5))


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def program(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("opsets") / "program.pt2"
    axes = ({0: BATCH, 2: HEIGHT, 3: WIDTH},)
    torch.export.save(torch.export.export(net, (torch.rand(2, 3, 8, 8),), dynamic_shapes=axes), path)
    return path


@pytest.mark.parametrize("opset", [11, 12, 13, 15, 17, 18, 25])
def test_the_opset_is_really_in_the_file(net: Net, program: Path, opset: int, tmp_path: Path):
    main = tmp_path / "model.onnx"
    assert write_onnx(program, SPEC, opset, main)["opset"] == opset
    model = onnx.load(main)
    onnx.checker.check_model(model, full_check=True)
    assert opset_of(model) == opset
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(main, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert session.get_outputs()[0].shape == ["batch", 5]
    for shape in ((2, 3, 8, 8), (5, 3, 12, 10)):
        image = torch.rand(shape)
        (found,) = session.run(None, {"image": image.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, net(image).numpy(), atol=1e-5)


def test_a_newer_file_knows_its_modules(program: Path, tmp_path: Path):
    write_onnx(program, SPEC, 18, tmp_path / "model.onnx")
    modules = {module_of(node) for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert {"conv", "depthwise", "head.0"} <= modules


def test_an_operator_too_new_is_named_with_the_smallest_opset_that_works(tmp_path: Path):
    path, main = tmp_path / "program.pt2", tmp_path / "model.onnx"
    torch.export.save(torch.export.export(Sampled(), (torch.rand(2, 2, 4, 4),), dynamic_shapes=({0: BATCH},)), path)
    spec = spec_of(("batch", 2, 4, 4), ("batch", 2, 4, 4))
    with pytest.raises(ExportError, match=r"Opset 13 is too old .* aten::grid_sampler") as caught:
        write_onnx(path, spec, 13, main)
    assert "opset 16, the smallest that works" in (caught.value.next_step or "")
    assert not main.exists()
    assert write_onnx(path, spec, 16, main)["opset"] == 16


def test_a_size_that_would_be_frozen_into_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Counting(torch.nn.Module):
        def forward(self, x):
            return x.reshape(x.shape[0] * 2, 2).sum(1).reshape(x.shape[0], 2)

    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(Counting(), (torch.rand(2, 4),), dynamic_shapes=({0: BATCH},)), path)
    spec = spec_of(("batch", 4), ("batch", 2))
    assert write_onnx(path, spec, 13, tmp_path / "good.onnx")["opset"] == 13
    monkeypatch.setattr("wherry.export.onnxtracing._traceable", lambda node: None)
    with pytest.raises(ExportError, match="size"):
        write_onnx(path, spec, 13, tmp_path / "frozen.onnx")
