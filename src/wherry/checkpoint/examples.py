"""Example inputs for a spec: random numbers of the right type and shape, and the axes that stay dynamic."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherry.core.errors import SpecMismatchError
from wherry.core.model import ModelSpec, TensorSpec

if TYPE_CHECKING:
    import torch

DEFAULT_LENGTH = 32


def example_inputs(spec: ModelSpec, *, batch: int, axes: Mapping[str, int], seed: int) -> dict[str, "torch.Tensor"]:
    """Return one random tensor for each input of the spec.

    Args:
        spec: names, types and shapes.
        batch: length of a dynamic first axis.
        axes: length of other dynamic axes by name; without one, the preprocessing's image size, or 32.
        seed: equal seeds give equal numbers.

    Raises:
        SpecMismatchError: a data type is unknown, or the spec has no input.
    """
    import torch

    if not spec.inputs:
        msg = "The spec names no input."
        raise SpecMismatchError(msg)
    generator = torch.Generator().manual_seed(seed)
    lengths = _lengths(spec, batch, axes)
    return {tensor.name: _random(tensor, lengths, generator) for tensor in spec.inputs}


def dynamic_axes(spec: ModelSpec) -> dict[str, Any]:
    """Return for each input which axes stay dynamic; one name is one axis, wherever it stands."""
    import torch

    names = {axis for tensor in spec.inputs for axis in tensor.shape if isinstance(axis, str)}
    for name in names:
        if not name.isidentifier():
            msg = f"{name!r} cannot name an axis: use letters, digits and '_'."
            raise SpecMismatchError(msg)
    dims = {name: torch.export.Dim(name) for name in sorted(names)}
    return {
        tensor.name: {index: dims[axis] for index, axis in enumerate(tensor.shape) if isinstance(axis, str)}
        for tensor in spec.inputs
    }


def torch_dtype(tensor: TensorSpec) -> "torch.dtype":
    """Return torch's type for the NumPy name of the spec.

    Raises:
        SpecMismatchError: torch has no such type.
    """
    import torch

    dtype = getattr(torch, tensor.dtype, None)
    if not isinstance(dtype, torch.dtype):
        msg = f"The spec gives {tensor.name!r} the type {tensor.dtype!r}, which torch does not have."
        raise SpecMismatchError(msg, next_step="Use a NumPy name such as float32 or int64.")
    return dtype


def _lengths(spec: ModelSpec, batch: int, axes: Mapping[str, int]) -> dict[str, int]:
    lengths: dict[str, int] = {}
    for tensor in spec.inputs:
        for index, axis in enumerate(tensor.shape):
            if isinstance(axis, str) and axis not in lengths:
                lengths[axis] = batch if index == 0 else axes.get(axis, _image_length(spec, index))
    return lengths


def _image_length(spec: ModelSpec, index: int) -> int:
    size = spec.preprocessing.size
    if spec.preprocessing.kind != "image" or size is None:
        return DEFAULT_LENGTH
    first = 2 if spec.preprocessing.layout == "NCHW" else 1
    return size[index - first] if index - first in (0, 1) else DEFAULT_LENGTH


def _random(tensor: TensorSpec, lengths: Mapping[str, int], generator: "torch.Generator") -> "torch.Tensor":
    import torch

    shape = [lengths[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
    dtype = torch_dtype(tensor)
    if dtype.is_floating_point:
        return torch.rand(shape, generator=generator).to(dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)
