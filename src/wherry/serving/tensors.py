"""The tensor codec of the V2 protocol: NumPy arrays to and from its datatypes, in binary and in JSON.

Binary is little-endian and row-major; BOOL is one byte; BYTES is a run of elements, each a 4-byte little-endian length
and that many bytes. In memory a BYTES tensor is an object array of `bytes`.
Source: Triton's protocol extension `binary_tensor_data` and the Open Inference Protocol, REST part.
"""

import math
import re
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from wherry.core.errors import BadInputError
from wherry.runtime.interface import Array

DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(np.object_),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_LENGTH = struct.Struct("<I")
_NESTED = re.compile(rb"\s*\[\s*\[")


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the protocol's name of a NumPy dtype.

    Raises:
        BadInputError: the protocol has none.
    """
    if dtype.kind in "OSU":
        return "BYTES"
    name = _NAMES.get(dtype.newbyteorder("<"))
    if name is None:
        msg = f"The V2 protocol has no datatype for {dtype}."
        raise BadInputError(msg)
    return name


def dtype_of(datatype: str) -> np.dtype[Any]:
    """Return the NumPy dtype of a protocol datatype, in this machine's byte order.

    Raises:
        BadInputError: the datatype is unknown or not supported.
    """
    dtype = DATATYPES.get(datatype)
    if dtype is None:
        msg = f"The datatype {datatype!r} is not supported: use one of {', '.join(DATATYPES)}."
        raise BadInputError(msg)
    return dtype.newbyteorder("=")


def decode_binary(data: memoryview, datatype: str, shape: Sequence[int], name: str) -> Array:
    """Return the tensor whose bytes are `data`; a view without a copy wherever that is possible, so read-only.

    Raises:
        BadInputError: the bytes do not fill the shape exactly.
    """
    dtype = dtype_of(datatype)
    count = math.prod(shape)
    if datatype == "BYTES":
        return _decode_bytes(data, count, name).reshape(shape)
    if len(data) != count * dtype.itemsize:
        wanted = count * dtype.itemsize
        msg = f"Input {name!r} has {len(data)} bytes, but {datatype} of shape {list(shape)} takes {wanted}."
        raise BadInputError(msg)
    if count == 0:
        return np.empty(shape, dtype)
    if datatype == "BOOL":
        truths: Array = np.frombuffer(data, np.uint8) != 0
        return truths.reshape(shape)
    array: Array = np.frombuffer(data, DATATYPES[datatype]).astype(dtype, copy=False)
    return array.reshape(shape)


def encode_binary(array: Array) -> bytes | memoryview:
    """Return the bytes of `array`, in row-major order.

    Raises:
        BadInputError: the protocol has no datatype for it.
    """
    datatype = datatype_of(array.dtype)
    if datatype == "BYTES":
        return b"".join(_LENGTH.pack(len(item)) + item for item in map(_as_bytes, array.ravel()))
    if array.size == 0:
        return b""
    return np.ascontiguousarray(array.astype(DATATYPES[datatype], copy=False)).data.cast("B")


def decode_json(raw: bytes | msgspec.Raw, datatype: str, shape: Sequence[int], name: str) -> Array:
    """Return the tensor whose `data` is the JSON text `raw`: flat in row-major order, or nested as its shape.

    Numbers are never cut: a fraction for an integer, a number out of range, or a truth value for a number is refused.

    Raises:
        BadInputError: another kind of value, another number of elements, or a datatype that JSON cannot carry.
    """
    dtype = dtype_of(datatype)
    if datatype == "FP16":
        msg = f"Input {name!r} is FP16, which JSON cannot carry: send it as binary data."
        raise BadInputError(msg)
    try:
        nested = _NESTED.match(memoryview(raw)) is not None
        values = msgspec.json.decode(raw, type=_list_type(dtype, len(shape) if nested else 1))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = (
            f"The data of input {name!r} is not a list of {datatype} values, flat or nested as {list(shape)}: {error}."
        )
        raise BadInputError(msg) from error
    for axis in range(len(shape) - 1 if nested else 0):
        values = _flatten(values, shape, axis, name)
    if len(values) != math.prod(shape):
        msg = f"Input {name!r} has {len(values)} values, but its shape {list(shape)} takes {math.prod(shape)}."
        raise BadInputError(msg)
    return _typed(values, dtype, datatype, name).reshape(shape)


def encode_json(array: Array, name: str) -> Any:
    """Return what stands under `data`: a flat list in row-major order, as a thing that orjson can write.

    Raises:
        BadInputError: JSON cannot carry the values, and binary data can.
    """
    datatype = datatype_of(array.dtype)
    ask = "ask for binary data"
    if datatype == "FP16":
        msg = f"Output {name!r} is FP16, which JSON cannot carry: {ask}."
        raise BadInputError(msg)
    if datatype == "BYTES":
        try:
            return [_as_bytes(item).decode() for item in array.ravel()]
        except UnicodeDecodeError as error:
            msg = f"Output {name!r} holds bytes that are not UTF-8 text: {ask}."
            raise BadInputError(msg) from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        msg = f"Output {name!r} holds infinity or NaN, which JSON cannot carry: {ask}."
        raise BadInputError(msg)
    return np.ascontiguousarray(array.ravel().astype(array.dtype.newbyteorder("="), copy=False))


def _decode_bytes(data: memoryview, count: int, name: str) -> Array:
    items: list[bytes] = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            break
        (length,) = _LENGTH.unpack_from(data, at)
        start = at + _LENGTH.size
        at = start + length
        items.append(bytes(data[start:at]))
    if at != len(data) or len(items) != count:
        msg = (
            f"The binary data of input {name!r} is not {count} elements of BYTES, each with its 4-byte length in front."
        )
        raise BadInputError(msg)
    return _object_array(items)


def _object_array(items: Sequence[bytes]) -> Array:
    array: Array = np.empty(len(items), np.object_)
    array[:] = items
    return array


def _as_bytes(item: object) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()


def _list_type(dtype: np.dtype[Any], depth: int) -> Any:
    element: Any = {"b": bool, "f": float, "O": str}.get(dtype.kind, int)
    for _ in range(depth):
        element = list[element]
    return element


def _flatten(values: list[Any], shape: Sequence[int], axis: int, name: str) -> list[Any]:
    if any(len(part) != shape[axis + 1] for part in values):
        msg = f"The data of input {name!r} is not nested as its shape {list(shape)}."
        raise BadInputError(msg)
    return [item for part in values for item in part]


def _typed(values: list[Any], dtype: np.dtype[Any], datatype: str, name: str) -> Array:
    if datatype == "BYTES":
        return _object_array([value.encode() for value in values])
    wide: Array
    try:
        if dtype.kind in "iu":
            # A wide type first: NumPy 1 wraps around silently where NumPy 2 raises.
            wide = np.array(values, np.int64 if dtype.kind == "i" else np.uint64)
            limits = np.iinfo(dtype)
            fits = wide.size == 0 or (int(wide.min()) >= limits.min and int(wide.max()) <= limits.max)
        else:
            wide = np.array(values, np.bool_ if dtype.kind == "b" else np.float64)
            fits = dtype.kind == "b" or not wide.size or bool(np.abs(wide).max() <= np.finfo(dtype).max)
    except (OverflowError, ValueError):
        fits, wide = False, np.empty(0)
    if not fits:
        msg = f"Input {name!r} holds a number that does not fit {datatype}."
        raise BadInputError(msg)
    return wide.astype(dtype, copy=False)
