"""An ONNX file of torch's own exporter is a program as it is: checked, described, adopted, or refused."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.checkpoint import nets
from wherry.checkpoint import onnx_program
from wherry.checkpoint.describe import Description
from wherry.checkpoint.loaders import loader_for
from wherry.core.errors import BadInputError, CheckpointError, SpecMismatchError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.core.variant import Target
from wherry.export.interface import Source
from wherry.export.targets import exporter_class
from wherry.runtime.engines import engine_class

pytestmark = pytest.mark.slow
SAID = Description(task="classification", input_size=(16, 16), classes=3, class_names=("a", "b", "c"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    program = torch.onnx.export(
        nets.Tiny().eval(),
        (torch.rand(2, 3, 16, 16),),
        input_names=["picture"],
        output_names=["answer"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    path = tmp_path_factory.mktemp("onnx") / "x.onnx"
    program.save(path)
    return path


def with_weight(source: Path, path: Path, value: float) -> Path:
    """Write the same network with another number in it."""
    model = onnx.load(source)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "head.weight")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0] = value
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)
    return path


def with_fixed_batch(source: Path, path: Path) -> Path:
    model = onnx.load(source)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, path)
    return path


def test_it_is_described_and_adopted_byte_for_byte(saved: Path, tmp_path: Path) -> None:
    model = onnx_program.check_graph(saved)
    spec = onnx_program.spec_of(model, saved, SAID)
    assert spec.inputs == (TensorSpec(name="picture", dtype="float32", shape=("batch", 3, 16, 16)),)
    assert spec.outputs == (TensorSpec(name="answer", dtype="float32", shape=("batch", 3)),)
    assert spec.postprocessing == "softmax"

    structure = onnx_program.adopt(model, saved, spec, tmp_path / "program.onnx")

    assert (tmp_path / "program.onnx").read_bytes() == saved.read_bytes()
    other = onnx_program.check_graph(with_weight(saved, tmp_path / "other.onnx", 0.5))
    assert onnx_program.adopt(other, tmp_path / "other.onnx", spec, tmp_path / "o.onnx") == structure
    assert {"onnx", "onnxruntime"} <= onnx_program.tools().keys()


def test_a_fixed_batch_stays_fixed(saved: Path, tmp_path: Path) -> None:
    path = with_fixed_batch(saved, tmp_path / "x.onnx")
    model = onnx_program.check_graph(path)
    spec = onnx_program.spec_of(model, path, SAID)
    assert spec.outputs[0].shape == (2, 3)
    onnx_program.adopt(model, path, spec, tmp_path / "p.onnx")
    dynamic = ModelSpec(
        task="classification",
        inputs=(TensorSpec(name="picture", dtype="float32", shape=("batch", 3, 16, 16)),),
        outputs=(TensorSpec(name="answer", dtype="float32", shape=("batch", 3)),),
    )
    with pytest.raises(SpecMismatchError, match="batch of 1"):
        onnx_program.adopt(model, path, dynamic, tmp_path / "p.onnx")


def test_what_contradicts_the_file_is_said(saved: Path, tmp_path: Path) -> None:
    model = onnx_program.check_graph(saved)
    spec = onnx_program.spec_of(model, saved, SAID)
    renamed = ModelSpec(
        task="classification", inputs=spec.inputs, outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 3)),)
    )
    with pytest.raises(SpecMismatchError, match=r"\['picture'\] -> \['y'\].*\['answer'\]"):
        onnx_program.adopt(model, saved, renamed, tmp_path / "p.onnx")
    with pytest.raises(SpecMismatchError, match=r"gives 3 classes.*and 7 were named"):
        onnx_program.spec_of(model, saved, Description(task="classification", input_size=(16, 16), classes=7))
    with pytest.raises(SpecMismatchError, match=r"refuses an input of \[2, 1, 16, 16\]"):
        onnx_program.spec_of(model, saved, Description(task="classification", input_size=(16, 16), channels=1))


def test_numbers_that_are_not_finite_and_damaged_files(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'head.weight' holds 1 values of 12"):
        onnx_program.check_graph(with_weight(saved, tmp_path / "nan.onnx", np.nan))
    (tmp_path / "half.onnx").write_bytes(saved.read_bytes()[:300])
    with pytest.raises(CheckpointError, match="not a valid ONNX model"):
        onnx_program.check_graph(tmp_path / "half.onnx")


def test_the_loader_sums_up_the_weights_and_follows_nothing(saved: Path, tmp_path: Path) -> None:
    with saved.open("rb") as file:
        content = loader_for("onnx").read(file, saved)
    assert tuple(content.tensors["head.weight"].shape) == (3, 4)
    onnx.save(onnx.load(saved), tmp_path / "y.onnx", save_as_external_data=True, size_threshold=0)
    with (tmp_path / "y.onnx").open("rb") as file, pytest.raises(CheckpointError, match="in another file"):
        loader_for("onnx").read(file, tmp_path / "y.onnx")


def test_targets_start_from_it_or_say_that_they_do_not(saved: Path, tmp_path: Path) -> None:
    for name in ("onnx-fp32", "openvino-fp32", "onnx-int8"):
        target = Target.parse(name)
        assert exporter_class(target.format).cannot_start(target, "onnx") is None
    for name in ("pt2-fp32", "tflite-fp32"):
        target = Target.parse(name)
        problem = exporter_class(target.format).cannot_start(target, "onnx")
        assert problem is not None
        assert "starts from a captured PyTorch network" in problem.message
        assert exporter_class(target.format).cannot_start(target, "pt2") is None

    spec = onnx_program.spec_of(onnx_program.check_graph(saved), saved, SAID)
    source = Source(model="m", version=1, spec=spec, program=saved, program_format="onnx")
    written = exporter_class("onnx")().export(source, Target.parse("onnx-fp32"), tmp_path)
    x = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    with engine_class("onnxruntime")(tmp_path / written.main, spec) as engine:
        expected = onnxruntime.InferenceSession(saved).run(None, {"picture": x})[0]
        assert np.array_equal(engine.run({"picture": x})["answer"], expected)
    asked = Target(format="onnx", precision="fp32", options={"opset": 11})
    with pytest.raises(BadInputError, match="not converted to opset 11"):
        exporter_class("onnx")().export(source, asked, tmp_path)
