"""The ONNX network as Hailo's compiler takes it: a batch of one, every shape known, every node with a name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wherry.core.errors import BadInputError
from wherry.export.hailo.graph import End
from wherry.runtime import telemetry
from wherry.runtime.interface import Array


def fixed_network(path: Path) -> Any:
    """Return the ONNX model with a batch of one, its constants folded and its shapes inferred.

    Raises:
        BadInputError: another axis than the batch is dynamic.
    """
    import onnx
    from onnxscript import optimizer

    model = onnx.load(str(path))
    for value in (*model.graph.input, *model.graph.output):
        for index, axis in enumerate(value.type.tensor_type.shape.dim):
            if axis.HasField("dim_value"):
                continue
            if index:
                msg = (
                    f"Axis {axis.dim_param or index!r} of {value.name!r} is dynamic, and Hailo takes fixed shapes only."
                )
                raise BadInputError(msg, next_step="Register a network whose axes but the batch are fixed.")
            axis.dim_value = 1
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    model = optimizer.optimize(model)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    _name_nodes(model)
    onnx.checker.check_model(model)
    return model


def _name_nodes(model: Any) -> None:
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}_of_the_graph"
        taken.add(node.name)


def ends_of(model: Any, ends: Sequence[End], inputs: dict[str, Array]) -> list[Array]:
    """Return what the float network gives at its ends, one array for each, batch first, channels last.

    The inputs run one at a time, as the network has a batch of one. Scores pass the sigmoid that the script adds.
    """
    telemetry.silence()
    import onnx
    import onnxruntime

    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    outputs = {value.name for value in cut.graph.output}
    for end in ends:
        if end.tensor not in outputs:
            cut.graph.output.append(onnx.helper.make_tensor_value_info(end.tensor, onnx.TensorProto.FLOAT, end.shape))
    session = onnxruntime.InferenceSession(cut.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [end.tensor for end in ends]
    count = len(next(iter(inputs.values())))
    rows = [session.run(names, {name: array[row : row + 1] for name, array in inputs.items()}) for row in range(count)]
    parts = (np.concatenate(part) for part in zip(*rows, strict=True))
    return [_as_the_chip_gives(part, end) for part, end in zip(parts, ends, strict=True)]


def _as_the_chip_gives(array: Array, end: End) -> Array:
    found = np.moveaxis(array, 1, -1) if array.ndim > 2 else array
    return 1 / (1 + np.exp(-found.astype(np.float32))) if end.role == "scores" else found
