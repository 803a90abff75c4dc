"""The null engine: no network, but outputs that depend on the inputs; for tests and dry runs."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import EngineError
from wherry.core.model import TensorSpec
from wherry.runtime.interface import NULL_CONTENT, Array, Engine, Tensors


class NullEngine(Engine):
    """Gives each output element the mean of its row's inputs plus the element's relative position, 0 to below 1."""

    name = "null"

    def _load(self, path: Path) -> None:
        with path.open("rb") as stream:
            if stream.read(len(NULL_CONTENT)) != NULL_CONTENT:
                msg = f"{path.name} is not a null model."
                raise EngineError(msg)

    def _infer(self, inputs: Tensors) -> Tensors:
        axes = {
            axis: size
            for tensor in self.spec.inputs
            for axis, size in zip(tensor.shape, inputs[tensor.name].shape, strict=True)
            if isinstance(axis, str)
        }
        rows = len(next(iter(inputs.values())))
        flat = [array.reshape(rows, -1).astype(np.float64) for array in inputs.values()]
        means = np.concatenate(flat, axis=1).mean(axis=1)
        return {tensor.name: _output(tensor, means, axes) for tensor in self.spec.outputs}


def _output(tensor: TensorSpec, means: NDArray[np.float64], axes: dict[str, int]) -> Array:
    shape = [axis if isinstance(axis, int) else axes.get(axis, 1) for axis in tensor.shape[1:]]
    size = int(np.prod(shape, dtype=np.int64))
    values = means[:, np.newaxis] + np.arange(size) / max(size, 1)
    array: Array = values.reshape(len(means), *shape).astype(tensor.dtype)
    return array
