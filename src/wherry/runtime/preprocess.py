"""Raw examples to the network's input: fit, colour, channel order, `(x * scale - mean) / std`, layout.

NumPy alone, so that the same numbers come out on every machine; Pillow is used for resizing only. The proof, the
device and the server all call `prepare`, so a difference in preprocessing cannot arise between them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import BadInputError, SpecMismatchError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.runtime.fitting import fit_images
from wherry.runtime.interface import Array, Tensors

_CHANNELS = {"L": 1, "RGB": 3}


def prepare(raw: Array, spec: ModelSpec) -> Tensors:
    """Return the network's input tensors for a batch of raw examples.

    Args:
        raw: for `image`, uint8 of shape (N, height, width), (N, height, width, 1) or (N, height, width, 3); for
            `tensor`, numbers already shaped like the input. The channels of a tensor, for a mean or a standard
            deviation with more than one number, lie where `layout` says: axis 1 for NCHW, the last for NHWC. Means and
            deviations stand in the order of the network's channels, so for a BGR network blue comes first.
        spec: what the network takes, with one input.

    Raises:
        BadInputError: the rank, dtype or size of `raw` does not fit, or its numbers do not fit the input's dtype.
        SpecMismatchError: the preprocessing contradicts the input it prepares.
        ToolchainMissingError: images have to be resized and Pillow is not installed.
    """
    if len(spec.inputs) != 1:
        msg = f"The model takes {len(spec.inputs)} inputs, and preprocessing prepares exactly one."
        raise BadInputError(msg, next_step="Give the engine the prepared tensors by name.")
    tensor, how = spec.inputs[0], spec.preprocessing
    if how.kind == "image":
        array = _layout(_normalise(_image(raw, how), how, -1, tensor), how)
    else:
        array = _normalise(_number(raw), how, 1 if how.layout == "NCHW" else -1, tensor)
    _check_shape(array, tensor, raw)
    return {tensor.name: np.ascontiguousarray(array)}


def _image(raw: Array, how: Preprocessing) -> Array:
    """Return (N, height, width, channels) uint8 in the wanted size and colour."""
    if raw.dtype != np.uint8:
        msg = f"Raw images are {raw.dtype}, and uint8 is expected."
        raise BadInputError(msg, next_step="Give pixels from 0 to 255 as uint8; scaling is part of the preprocessing.")
    images = raw[..., np.newaxis] if raw.ndim == 3 else raw
    if images.ndim != 4 or images.shape[-1] not in _CHANNELS.values():
        msg = f"Raw images have shape {list(raw.shape)}, and (N, height, width) with 1 or 3 channels last is expected."
        raise BadInputError(msg)
    coloured = _recolour(fit_images(images, how), how)
    return coloured[..., ::-1] if how.channel_order == "BGR" else coloured


def _recolour(images: Array, how: Preprocessing) -> Array:
    wanted = _CHANNELS[how.color]
    if images.shape[-1] == wanted:
        return images
    if wanted == 3:
        return np.repeat(images, 3, axis=-1)
    # ITU-R BT.601 luma in 16-bit fixed point, rounded as Pillow's convert("L") does.
    weights = np.array([19595, 38470, 7471], dtype=np.uint32)
    luma = (images.astype(np.uint32) @ weights + 0x8000) >> 16
    return luma.astype(np.uint8)[..., np.newaxis]


def _number(raw: Array) -> Array:
    if raw.dtype.kind not in "iuf" or raw.ndim < 1:
        msg = f"Raw examples are {raw.dtype} of shape {list(raw.shape)}, and a batch of numbers is expected."
        raise BadInputError(msg)
    return raw


def _normalise(array: Array, how: Preprocessing, channels: int, tensor: TensorSpec) -> Array:
    """Return `(x * scale - mean) / std` in the input's dtype; half precision is reached through single precision."""
    wanted = np.dtype(tensor.dtype)
    if how.scale == 1.0 and not any(how.mean) and all(value == 1.0 for value in how.std):
        return _cast(array, wanted)
    if wanted.kind != "f":
        msg = f"Preprocessing gives fractions, and input {tensor.name!r} is {tensor.dtype}."
        raise SpecMismatchError(msg)
    if 0.0 in how.std:
        msg = "Preprocessing divides by a standard deviation of zero."
        raise SpecMismatchError(msg)
    work = np.result_type(wanted, np.float32)
    mean, std = (_per_channel(values, array, channels, work) for values in (how.mean, how.std))
    scaled = array.astype(work) * work.type(how.scale)
    result: Array = ((scaled - mean) / std).astype(wanted, copy=False)
    return result


def _per_channel(values: tuple[float, ...], array: Array, channels: int, dtype: "np.dtype[Any]") -> NDArray[Any]:
    if len(values) == 1:
        return np.array(values[0], dtype=dtype)
    if array.ndim < 2 or len(values) != array.shape[channels]:
        msg = f"Preprocessing names {len(values)} channels, and the examples have shape {list(array.shape)}."
        raise SpecMismatchError(msg)
    shape = [1] * array.ndim
    shape[channels] = len(values)
    return np.array(values, dtype=dtype).reshape(shape)


def _cast(array: Array, wanted: "np.dtype[Any]") -> Array:
    if array.dtype == wanted:
        return array
    if wanted.kind == "f":
        return array.astype(wanted)
    if wanted.kind in "iu" and array.dtype.kind in "iu":
        limits = np.iinfo(wanted)
        if not array.size or (int(array.min()) >= limits.min and int(array.max()) <= limits.max):
            return array.astype(wanted)
    msg = f"Raw examples are {array.dtype}, and their numbers do not fit the input's {wanted}."
    raise BadInputError(msg, next_step="Convert the examples before the call.")


def _layout(images: Array, how: Preprocessing) -> Array:
    return images.transpose(0, 3, 1, 2) if how.layout == "NCHW" else images


def _check_shape(array: Array, tensor: TensorSpec, raw: Array) -> None:
    fits = array.ndim == len(tensor.shape) and all(
        size == axis for size, axis in zip(array.shape, tensor.shape, strict=True) if isinstance(axis, int)
    )
    if not fits:
        msg = (
            f"Raw examples of shape {list(raw.shape)} become {list(array.shape)}, "
            f"and input {tensor.name!r} takes {list(tensor.shape)}."
        )
        raise BadInputError(msg)
