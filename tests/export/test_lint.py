"""The linter, on graphs that have the trouble and on graphs that do not."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wherry.export.lint import lint

RNG = np.random.default_rng(0)


def write(path: Path, nodes, weights=None, *, outputs=("y",), shape=("n", 4, 8, 8), out_shape=("n", 4, 1, 1)) -> Path:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    answers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, out_shape) for name in outputs]
    stored = [numpy_helper.from_array(np.asarray(a), name) for name, a in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", [image], answers, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def batch(shape=(4, 4, 8, 8)):
    return {"x": RNG.normal(size=shape).astype(np.float32)}


def weight(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def kinds(path, batches=()):
    return {finding.kind: finding for finding in lint(path, batches)}


def test_a_plain_network_has_no_findings(tmp_path: Path):
    nodes = [
        helper.make_node("Conv", ["x", "c.weight"], ["a"], name="c", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="r"),
        helper.make_node("GlobalAveragePool", ["b"], ["y"], name="p"),
    ]
    assert kinds(write(tmp_path / "m.onnx", nodes, {"c.weight": weight(4, 4, 3, 3)}), [batch()]) == {}


def test_silu_and_gates_are_told_apart(tmp_path: Path):
    silu = [helper.make_node("Sigmoid", ["x"], ["s"], name="s"), helper.make_node("Mul", ["x", "s"], ["y"], name="act")]
    found = kinds(write(tmp_path / "silu.onnx", silu, out_shape=("n", 4, 8, 8), shape=("n", 4, 8, "w")))
    assert found["SiLU"].modules == ("act",)
    assert "Squeeze-and-excitation" not in found
    gate = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"], name="p"),
        helper.make_node("Conv", ["p", "se.weight"], ["q"], name="c"),
        helper.make_node("Sigmoid", ["q"], ["g"], name="g"),
        helper.make_node("Mul", ["x", "g"], ["m"], name="scale"),
        helper.make_node("GlobalAveragePool", ["m"], ["y"], name="p2"),
    ]
    found = kinds(write(tmp_path / "se.onnx", gate, {"se.weight": weight(4, 4, 1, 1)}))
    assert found["Squeeze-and-excitation"].modules == ("scale",)
    assert "SiLU" not in found


def test_an_output_at_full_resolution(tmp_path: Path):
    nodes = [helper.make_node("Conv", ["x", "head.weight"], ["y"], name="c", pads=[1, 1, 1, 1])]
    path = write(tmp_path / "m.onnx", nodes, {"head.weight": weight(4, 4, 3, 3)}, out_shape=("n", 4, 8, 8))
    assert kinds(path)["Output at full resolution"].modules == ("head",)


@pytest.mark.parametrize(("scale", "expected"), [(640.0, True), (2.0, False)])
def test_mixed_ranges_in_one_tensor(tmp_path: Path, scale: float, expected: bool):
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["scores"], name="s"),
        helper.make_node("Mul", ["scores", "k"], ["boxes"], name="b"),
        helper.make_node("Concat", ["boxes", "scores"], ["y"], name="detect", axis=1),
    ]
    path = write(tmp_path / "m.onnx", nodes, {"k": np.float32(scale)}, out_shape=("n", 8, 8, 8), shape=("n", 4, "h", 8))
    assert ("Mixed ranges in one tensor" in kinds(path, [batch()])) == expected
    assert "Mixed ranges in one tensor" not in kinds(path)


def test_a_wide_range_needs_examples_to_be_seen(tmp_path: Path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="r"),
        helper.make_node("Conv", ["a", "c.weight"], ["b"], name="c"),
        helper.make_node("GlobalAveragePool", ["b"], ["y"], name="p"),
    ]
    path = write(tmp_path / "m.onnx", nodes, {"c.weight": weight(4, 4, 1, 1)})
    spiky = batch((16, 4, 8, 8))
    assert "Wide range" not in kinds(path, [spiky])
    spiky["x"][3, 1, 2, 2] = 500.0
    found = kinds(path, [spiky])["Wide range"]
    assert found.modules == ("c",)
    assert "up to 500" in found.why
    assert "percentile" in str(found)


def test_uneven_depthwise_weights(tmp_path: Path):
    uneven = np.ones((4, 1, 3, 3), dtype=np.float32) * 0.01
    nodes = [
        helper.make_node("Conv", ["x", "dw.weight"], ["a"], name="c", group=4),
        helper.make_node("GlobalAveragePool", ["a"], ["y"], name="p"),
    ]
    assert kinds(write(tmp_path / "even.onnx", nodes, {"dw.weight": uneven})) == {}
    uneven[2] *= 100
    found = kinds(write(tmp_path / "uneven.onnx", nodes, {"dw.weight": uneven}))
    assert found["Uneven depthwise weights"].modules == ("dw",)
