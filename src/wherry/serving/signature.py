"""A model spec in the words of the protocol: datatypes, shapes, and whether callers can share a batch."""

from functools import cache

import numpy as np

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.serving.tensors import datatype_of


def wire_datatype(tensor: TensorSpec) -> str:
    """Return the protocol's datatype of a tensor of the spec.

    Raises:
        BadInputError: the protocol has none for its dtype.
    """
    return _datatype(tensor.dtype)


def wire_shape(tensor: TensorSpec) -> list[int]:
    """Return the shape as the protocol writes it: -1 for a dynamic axis."""
    return [axis if isinstance(axis, int) else -1 for axis in tensor.shape]


def check_servable(spec: ModelSpec) -> None:
    """Check that every tensor can be carried by the protocol.

    Raises:
        BadInputError: there is no input or output, or one has a dtype that the protocol does not know.
    """
    if not spec.inputs or not spec.outputs:
        msg = "A model without inputs or outputs cannot be served."
        raise BadInputError(msg)
    for tensor in (*spec.inputs, *spec.outputs):
        wire_datatype(tensor)


def can_merge(spec: ModelSpec) -> bool:
    """Return whether rows of several requests can share a batch: every tensor starts with the same dynamic axis."""
    tensors = (*spec.inputs, *spec.outputs)
    first = tensors[0].shape[0] if tensors[0].shape else None
    if not isinstance(first, str):
        return False
    return all(bool(tensor.shape) and tensor.shape[0] == first and first not in tensor.shape[1:] for tensor in tensors)


@cache
def _datatype(dtype: str) -> str:
    try:
        return datatype_of(np.dtype(dtype))
    except TypeError as error:
        msg = f"The V2 protocol has no datatype for {dtype!r}."
        raise BadInputError(msg) from error
