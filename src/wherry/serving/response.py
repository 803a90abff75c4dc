"""An inference response: the V2 JSON document and the binary tensors behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from wherry.core.errors import BadInputError
from wherry.runtime.interface import Array
from wherry.serving.request import InferRequest
from wherry.serving.tensors import datatype_of, encode_binary, encode_json


@dataclass(frozen=True, slots=True)
class Reply:
    """A response body, and how much of it is JSON if binary tensors follow."""

    body: bytes
    header_length: int | None


def build_reply(
    model: str, version: int, request: InferRequest, outputs: Mapping[str, Array], class_names: Sequence[str]
) -> Reply:
    """Return the answer to `request`, with the outputs that it asked for, in its order and form.

    Raises:
        BadInputError: an output cannot take the form that was asked for, such as NaN in JSON.
    """
    documents: list[dict[str, Any]] = []
    tail: list[bytes | memoryview] = []
    for wanted in request.outputs:
        array = outputs[wanted.name]
        if wanted.classes:
            array = classify(array, wanted.classes, class_names, wanted.name)
        document: dict[str, Any] = {
            "name": wanted.name,
            "datatype": datatype_of(array.dtype),
            "shape": list(array.shape),
        }
        if wanted.binary:
            data = encode_binary(array)
            document["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            document["data"] = encode_json(array, wanted.name)
        documents.append(document)
    answer = {"model_name": model, "model_version": str(version), "outputs": documents}
    if request.id:
        answer["id"] = request.id
    text = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tail:
        return Reply(text, None)
    return Reply(b"".join((text, *tail)), len(text))


def classify(array: Array, count: int, class_names: Sequence[str], name: str) -> Array:
    """Return the best `count` classes of each row as `score:index[:label]`, best first; shape [rows, count].

    Fewer are returned where the output has fewer. Source: Triton's protocol extension `classification`.

    Raises:
        BadInputError: the output does not hold numbers.
    """
    if array.dtype.kind not in "iuf":
        msg = f"Output {name!r} is {datatype_of(array.dtype)}, so its classes have no order."
        raise BadInputError(msg)
    scores = array.reshape(len(array), -1)
    best = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :count]
    labels = class_names if len(class_names) == scores.shape[1] else None
    pattern = "%f:%d" if array.dtype.kind == "f" else "%d:%d"
    named: Array = np.empty(best.shape, np.object_)
    for row, column in np.ndindex(best.shape):
        index = int(best[row, column])
        text = pattern % (scores[row, index], index)
        named[row, column] = (f"{text}:{labels[index]}" if labels else text).encode()
    return named
