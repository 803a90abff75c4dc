"""Eight-bit weights for an ONNX file without a calibration set: dynamic quantization, and weights only.

Dynamic: ONNX Runtime's MatMulInteger, ranges of activations found while it runs. Its dynamic convolution
(ConvInteger) is slower than the float one on most processors and missing on some, so convolutions stay in float32.

Weights only: each weight is stored in int8 with one scale for each output channel (symmetric, the largest magnitude at
127) and comes back through DequantizeLinear, so that everything computes in float32.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import ExportError
from wherry.runtime import telemetry

if TYPE_CHECKING:
    import onnx

DYNAMIC = ("MatMul", "Gemm")
"""Operators that dynamic quantization touches."""
_SMALLEST = 256
"""Elements below which the scales would take what the eight bits save."""


def quantize_dynamic(parent: Path, main: Path, excluded: list[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write the parent with int8 weights in matrix products, and return the options in effect and the overrides.

    Raises:
        ExportError: it has no matrix product with constant weights.
    """
    telemetry.silence()
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as quantize

    model = onnx.load(str(parent))
    del model.graph.value_info[:]  # it would say the old shapes of weights that are transposed
    quantize(
        model,
        str(main),
        op_types_to_quantize=list(DYNAMIC),
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=excluded,
    )
    counts = _counts(onnx.load(str(main)))
    touched = counts.get("MatMulInteger", 0) + counts.get("DynamicQuantizeMatMul", 0)
    if not touched:
        msg = "The network has no matrix product with constant weights, so dynamic quantization would change nothing."
        raise ExportError(msg, next_step="Use onnx-int8 with a calibration set, or onnx-int8-weights.")
    effective = {"weights": "int8 per channel", "activations": "uint8, ranges while running", "operators": touched}
    left = counts.get("Conv", 0) + counts.get("ConvTranspose", 0)
    overrides = (
        (f"Convolutions stay in float32 ({left}): dynamic quantization is for matrix products.",) if left else ()
    )
    return effective, overrides


def quantize_weights(parent: Path, main: Path, excluded: list[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write the parent with int8 weights and float32 computation, and return the options in effect and the overrides.

    Raises:
        ExportError: it has no weights that are large enough.
    """
    import onnx

    model = onnx.load(str(parent))
    axes = _channel_axes(model, set(excluded))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for name, axis in axes.items():
        found = stored[name]
        eight = _eight_bits(onnx.numpy_helper.to_array(found), axis)
        parts = {f"{name}_int8": eight.values, f"{name}_scale": eight.scales}
        model.graph.initializer.extend(onnx.numpy_helper.from_array(array, part) for part, array in parts.items())
        nodes.append(onnx.helper.make_node("DequantizeLinear", list(parts), [name], f"{name}_dequantize", axis=axis))
        model.graph.initializer.remove(found)
    if not nodes:
        msg = f"The network has no weights of {_SMALLEST} numbers or more, so there is nothing to store in eight bits."
        raise ExportError(msg, next_step="Use onnx-fp32.")
    others = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *others])
    for index in reversed([i for i, info in enumerate(model.graph.value_info) if info.name in axes]):
        del model.graph.value_info[index]
    onnx.save(model, str(main))
    return {"weights": "int8 per channel", "computation": "float32", "tensors": len(nodes)}, ()


@dataclass(frozen=True, slots=True)
class _Eight:
    values: NDArray[np.int8]
    scales: NDArray[np.float32]


def _eight_bits(weights: NDArray[np.float32], axis: int) -> _Eight:
    moved = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
    scales = (np.abs(moved).max(axis=1) / 127).astype(np.float32)
    scales[scales == 0] = 1.0
    shape = [1] * weights.ndim
    shape[axis] = -1
    values = np.clip(np.rint(weights / scales.reshape(shape)), -127, 127).astype(np.int8)
    return _Eight(values, scales)


def _channel_axes(model: "onnx.ModelProto", excluded: set[str]) -> dict[str, int]:
    """Return the weights to store in eight bits, each with the axis of its output channels."""
    sizes = {t.name: list(t.dims) for t in model.graph.initializer if t.data_type == 1}
    axes: dict[str, int] = {}
    kept: set[str] = set()
    for node in model.graph.node:
        weight = node.input[1] if len(node.input) > 1 else ""
        axis = _axis(node, len(sizes.get(weight, ())))
        if axis is None or node.name in excluded or int(np.prod(sizes.get(weight, [0]))) < _SMALLEST:
            kept |= set(node.input)
        elif axes.setdefault(weight, axis) != axis:
            kept.add(weight)  # two users that disagree about what a channel is
    return {name: axis for name, axis in axes.items() if name not in kept}


def _axis(node: "onnx.NodeProto", rank: int) -> int | None:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if not any(a.name == "group" and a.i != 1 for a in node.attribute) else None
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return rank - 1 if node.op_type == "MatMul" and rank >= 2 else None


def _counts(model: "onnx.ModelProto") -> dict[str, int]:
    names = [str(node.op_type) for node in model.graph.node]
    return {name: names.count(name) for name in set(names)}
