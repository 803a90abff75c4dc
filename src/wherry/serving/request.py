"""An inference request: the V2 JSON document and the binary tensors behind it, checked against the model spec."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from wherry.core.errors import BadInputError, DocumentError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.runtime.interface import Array, Tensors
from wherry.serving.signature import wire_datatype, wire_shape
from wherry.serving.tensors import decode_binary, decode_json, dtype_of

Parameters = dict[str, str | bool | int | float]
Axis = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class InputDocument(msgspec.Struct):
    """One entry of `inputs`."""

    name: str
    shape: list[Axis]
    datatype: str
    parameters: Parameters = {}
    data: msgspec.Raw = msgspec.Raw()
    """As it stands in the text, to be read with the type that `datatype` names; empty when it is not there."""


class OutputDocument(msgspec.Struct):
    """One entry of `outputs`."""

    name: str
    parameters: Parameters = {}


class RequestDocument(msgspec.Struct):
    """The JSON part of a request."""

    inputs: list[InputDocument]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[OutputDocument] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedOutput:
    """One output that the caller wants, and how."""

    name: str
    binary: bool = False
    classes: int = 0
    """The number of best classes to name, or 0 for the tensor itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """A request that fits its model."""

    inputs: Tensors
    outputs: tuple[RequestedOutput, ...]
    """In the order in which they are answered."""
    id: str = ""
    timeout_s: float | None = None
    """How long it may wait for its turn, in seconds."""

    @property
    def rows(self) -> int:
        """Length of the first axis of the first input."""
        array = next(iter(self.inputs.values()))
        return array.shape[0] if array.ndim else 1


_DECODER = msgspec.json.Decoder(RequestDocument)


def parse_request(body: bytes, header_length: str | None, spec: ModelSpec) -> InferRequest:
    """Read a request body.

    Args:
        body: the body, no longer compressed.
        header_length: value of `Inference-Header-Content-Length`; None means that the whole body is JSON, 0 that it is
            the bytes of the only input.
        spec: what the model takes and gives.

    Raises:
        BadInputError: anything in it is malformed or does not fit the model; one sentence says what.
    """
    length = _json_length(header_length, len(body))
    if length == 0 and header_length is not None:
        return _raw_request(body, spec)
    view = memoryview(body)
    document = _decode(view[:length])
    inputs = _inputs(document.inputs, view[length:], spec)
    _check_axes(spec, inputs)
    outputs = _outputs(document, spec)
    return InferRequest(inputs=inputs, outputs=outputs, id=document.id, timeout_s=_timeout(document.parameters))


def _json_length(text: str | None, available: int) -> int:
    if text is None:
        return available
    length = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not 0 <= length <= available:
        msg = f"Inference-Header-Content-Length is {text[:40]!r}, but the body has {available} bytes."
        raise BadInputError(msg)
    return length


def _decode(text: memoryview) -> RequestDocument:
    try:
        document = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"The request is not a V2 inference request: {error}."
        raise DocumentError(msg) from error
    for key in document.parameters:
        if key.startswith(("triton_", "sequence_")):
            msg = f"The parameter {key!r} is reserved for an extension that this server does not have."
            raise BadInputError(msg)
    return document


def _timeout(parameters: Parameters) -> float | None:
    value = parameters.get("timeout", 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        msg = f"The parameter 'timeout' is {value!r}; it is a number of microseconds, 0 or more."
        raise BadInputError(msg)
    return value / 1e6 if value else None


def _inputs(documents: list[InputDocument], binary: memoryview, spec: ModelSpec) -> Tensors:
    tensors = {tensor.name: tensor for tensor in spec.inputs}
    found: Tensors = {}
    at = 0
    for document in documents:
        tensor = tensors.get(document.name)
        if tensor is None or document.name in found:
            problem = "given twice" if tensor else f"unknown; the model takes {', '.join(tensors)}"
            msg = f"Input {document.name!r} is {problem}."
            raise BadInputError(msg)
        _check_declared(document, tensor)
        size = _flag(document.parameters, "binary_data_size", int, None)
        as_json = len(memoryview(document.data)) > 0
        if (size is None) != as_json:
            msg = f"Input {document.name!r} takes either 'data' or 'binary_data_size'."
            raise BadInputError(msg)
        if as_json:
            found[document.name] = decode_json(document.data, document.datatype, document.shape, document.name)
            continue
        if not 0 <= size <= len(binary) - at:
            msg = f"Input {document.name!r} announces {size} binary bytes, and {len(binary) - at} follow."
            raise BadInputError(msg)
        found[document.name] = decode_binary(binary[at : at + size], document.datatype, document.shape, document.name)
        at += size
    if at != len(binary):
        msg = f"{len(binary) - at} bytes follow the last binary input, and no input announces them."
        raise BadInputError(msg)
    missing = [name for name in tensors if name not in found]
    if missing:
        msg = f"The input {missing[0]!r} is missing."
        raise BadInputError(msg)
    return {name: found[name] for name in tensors}


def _check_declared(document: InputDocument, tensor: TensorSpec) -> None:
    if any(key.startswith("shared_memory_") for key in document.parameters):
        msg = f"Input {document.name!r} lies in shared memory, which this server does not support."
        raise BadInputError(msg)
    dtype_of(document.datatype)
    wanted = wire_datatype(tensor)
    if document.datatype != wanted:
        msg = f"Input {document.name!r} is {document.datatype}, the model takes {wanted}; nothing is cast silently."
        raise BadInputError(msg)
    if not _fits(document.shape, tensor):
        msg = f"Input {document.name!r} has shape {document.shape}, the model takes {wire_shape(tensor)}."
        raise BadInputError(msg)


def _fits(shape: list[int], tensor: TensorSpec) -> bool:
    if len(shape) != len(tensor.shape):
        return False
    return all(size > 0 and axis in (-1, size) for size, axis in zip(shape, wire_shape(tensor), strict=True))


def _check_axes(spec: ModelSpec, inputs: Mapping[str, Array]) -> None:
    axes: dict[str, int] = {}
    for tensor in spec.inputs:
        for size, axis in zip(inputs[tensor.name].shape, tensor.shape, strict=True):
            if isinstance(axis, str) and axes.setdefault(axis, size) != size:
                msg = (
                    f"Input {tensor.name!r} has length {size} on the axis {axis!r}, and another input has {axes[axis]}."
                )
                raise BadInputError(msg)


def _outputs(document: RequestDocument, spec: ModelSpec) -> tuple[RequestedOutput, ...]:
    names = [tensor.name for tensor in spec.outputs]
    binary = bool(_flag(document.parameters, "binary_data_output", bool, False))
    if not document.outputs:
        return tuple(RequestedOutput(name=name, binary=binary) for name in names)
    wanted: list[RequestedOutput] = []
    for output in document.outputs:
        if output.name not in names or any(output.name == other.name for other in wanted):
            problem = "asked for twice" if output.name in names else f"unknown; the model gives {', '.join(names)}"
            msg = f"Output {output.name!r} is {problem}."
            raise BadInputError(msg)
        if any(key.startswith("shared_memory_") for key in output.parameters):
            msg = f"Output {output.name!r} is wanted in shared memory, which this server does not support."
            raise BadInputError(msg)
        classes = _flag(output.parameters, "classification", int, 0)
        if classes < 0 or (classes == 0 and "classification" in output.parameters):
            msg = f"The parameter 'classification' of output {output.name!r} is {classes}; it is at least 1."
            raise BadInputError(msg)
        as_binary = bool(_flag(output.parameters, "binary_data", bool, binary))
        wanted.append(RequestedOutput(name=output.name, binary=as_binary, classes=classes))
    return tuple(wanted)


def _flag(parameters: Parameters, key: str, kind: type, default: Any) -> Any:
    value = parameters.get(key, default)
    if value is not default and type(value) is not kind:
        msg = f"The parameter {key!r} is {value!r}; it is {'true or false' if kind is bool else 'a whole number'}."
        raise BadInputError(msg)
    return value


def _raw_request(body: bytes, spec: ModelSpec) -> InferRequest:
    if len(spec.inputs) != 1:
        msg = f"A body without a JSON header needs a model with one input, and this one has {len(spec.inputs)}."
        raise BadInputError(msg)
    tensor = spec.inputs[0]
    datatype = wire_datatype(tensor)
    shape = _raw_shape(tensor, len(body), datatype)
    if datatype == "BYTES":
        body = len(body).to_bytes(4, "little") + body
    inputs = {tensor.name: decode_binary(memoryview(body), datatype, shape, tensor.name)}
    outputs = tuple(RequestedOutput(name=output.name, binary=True) for output in spec.outputs)
    return InferRequest(inputs=inputs, outputs=outputs)


def _raw_shape(tensor: TensorSpec, size: int, datatype: str) -> list[int]:
    shape = wire_shape(tensor)
    if shape and shape[0] == -1:
        shape[0] = 1
    if datatype == "BYTES":
        shape = [abs(axis) for axis in shape]
    free = [index for index, axis in enumerate(shape) if axis == -1]
    if len(free) > 1:
        msg = f"A body without a JSON header can leave one axis open, and {tensor.name!r} has {len(free)}."
        raise BadInputError(msg)
    if free:
        rest = -math.prod(shape) * dtype_of(datatype).itemsize
        shape[free[0]] = max(1, size // rest)
    return shape
