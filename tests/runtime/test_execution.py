"""Who ran which operators: counted by hand, and from real runtimes on a small network."""

import numpy as np
import pytest

from wherry.core.model import ModelSpec, TensorSpec
from wherry.runtime.engines import engine_class
from wherry.runtime.execution import fallback, shares
from wherry.runtime.interface import EngineOptions

SPEC = ModelSpec(
    task="classification",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 3, 16, 16)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 8, 1, 1)),),
)


def test_shares_by_hand():
    found = shares(["CUDA", "CPU", "CUDA", "CUDA"])
    assert [(one.provider, one.operators, one.share) for one in found] == [("CUDA", 3, 0.75), ("CPU", 1, 0.25)]
    assert shares([]) == ()


def test_a_fallback_is_more_than_arithmetic_on_shapes():
    honest = [("CUDA", "Conv"), ("CPU", "Shape"), ("CPU", "Gather")]
    assert fallback("CUDA", honest) is None
    silent = [*honest, ("CPU", "Conv"), ("CPU", "Conv"), ("CPU", "NonMaxSuppression")]
    assert fallback("CUDA", silent) == "3 of 6 operators ran elsewhere than on CUDA, such as Conv, NonMaxSuppression"


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Erf", ["c"], ["e"]),
        helper.make_node("GlobalAveragePool", ["e"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8, 1, 1])],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, path)
    return path


def inputs(rows):
    return {"x": np.random.default_rng(1).normal(size=(rows, 3, 16, 16)).astype(np.float32)}


@pytest.mark.parametrize("batch", [None, 2])
def test_onnxruntime_counts_its_operators(onnx_file, batch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with engine_class("onnxruntime")(onnx_file, SPEC, batch=batch) as engine:
        info = engine.executed(inputs(3))
        assert engine.info().execution == ()
    (one,) = info.execution
    assert (one.provider, one.share, info.fallback) == ("CPUExecutionProvider", 1.0, None)
    assert one.operators >= 3
    assert list(tmp_path.iterdir()) == []


def test_onnxruntime_without_its_optimisations_gives_the_same_answers(onnx_file):
    kind = engine_class("onnxruntime")
    assert kind.has_reference
    with kind(onnx_file, SPEC) as fast, kind(onnx_file, SPEC, options=EngineOptions(reference=True)) as plain:
        np.testing.assert_allclose(fast.run(inputs(2))["y"], plain.run(inputs(2))["y"], atol=1e-5)
        assert plain.info().options["optimisations"] == "none"
        assert plain.executed(inputs(1)).execution[0].operators == 3


def test_openvino_says_in_which_precision(onnx_file, tmp_path):
    import openvino

    path = tmp_path / "model.xml"
    openvino.save_model(openvino.convert_model(onnx_file), path, compress_to_fp16=False)
    with engine_class("openvino")(path, SPEC) as engine:
        info = engine.executed(inputs(1))
    assert info.execution[0].provider == "CPU f32"
    assert sum(one.share for one in info.execution) == pytest.approx(1.0)
    assert info.fallback is None


def test_what_does_not_say_says_nothing(tmp_path):
    from wherry.runtime.interface import NULL_CONTENT

    path = tmp_path / "model.null"
    path.write_bytes(NULL_CONTENT)
    with engine_class("null")(path, SPEC) as engine:
        assert engine.executed(inputs(1)).execution == ()


def test_a_profiler_that_fails_is_not_the_variants_fault(onnx_file, monkeypatch):
    kind = engine_class("onnxruntime")
    with kind(onnx_file, SPEC) as engine:
        monkeypatch.setattr("wherry.runtime.engines.onnxruntime.shares", None)
        assert engine.executed(inputs(1)).execution == ()
