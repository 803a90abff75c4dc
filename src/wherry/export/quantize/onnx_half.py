"""float16 for an ONNX file: weights and computation in half precision, inputs and outputs as the spec says."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherry.runtime import telemetry

if TYPE_CHECKING:
    import onnx

_LARGEST = float(np.finfo(np.float16).max)
_SHOWN = 5


def to_half(parent: Path, main: Path, keep: list[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write the parent in float16, and return the options in effect and what was changed beyond rounding.

    An activation that grows beyond 65504 becomes infinite while the file runs; no export can see that, the proof does.

    Args:
        parent: a float32 file.
        main: the file to write.
        keep: operator types that stay in float32, beside those that have no half-precision kernel.
    """
    telemetry.silence()
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(str(parent))
    clamped = _too_large(model)
    blocked = sorted({*DEFAULT_OP_BLOCK_LIST, *keep})
    half = convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked)
    OnnxModel(half).topological_sort()  # the converter adds its casts at the end
    onnx.save(half, str(main))
    present = sorted({node.op_type for node in model.graph.node} & set(blocked))
    overrides = []
    if clamped:
        more = f" and {len(clamped) - _SHOWN} more" if len(clamped) > _SHOWN else ""
        names = ", ".join(clamped[:_SHOWN]) + more
        overrides.append(f"Numbers beyond ±{_LARGEST:.0f}, the range of float16, were set to that limit in {names}.")
    if present:
        overrides.append(f"These operators stay in float32: {', '.join(present)}.")
    effective = {"weights": "float16", "computation": "float16", "inputs_and_outputs": "as the spec", "kept": present}
    return effective, tuple(overrides)


def _too_large(model: "onnx.ModelProto") -> list[str]:
    """Return the names of constants that hold finite numbers beyond what float16 can."""
    import onnx

    constants = [(tensor.name, tensor) for tensor in model.graph.initializer]
    for node in model.graph.node:
        constants += [(node.name or node.op_type, a.t) for a in node.attribute if a.type == onnx.AttributeProto.TENSOR]
    found = []
    for name, tensor in constants:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = np.abs(onnx.numpy_helper.to_array(tensor))
            if np.any((values > _LARGEST) & np.isfinite(values)):
                found.append(name)
    return found
