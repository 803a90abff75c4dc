from typing import Any

import numpy as np
import orjson
import pytest

from tests.serving.affine import AFFINE_SPEC, echo_spec
from wherry.core.errors import BadInputError, DocumentError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.serving.request import parse_request
from wherry.serving.signature import can_merge, check_servable

ROW = [1.0, 2.0, 3.0, 4.0]
BYTES = np.array(ROW, "<f4").tobytes()


def document(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW} | changes]}


def parse(value: Any, tail: bytes = b"", spec: ModelSpec = AFFINE_SPEC) -> Any:
    text = orjson.dumps(value)
    return parse_request(text + tail, str(len(text)) if tail else None, spec)


def binary(**changes: Any) -> dict[str, Any]:
    found = document(parameters={"binary_data_size": len(BYTES)}, **changes)
    del found["inputs"][0]["data"]
    return found


def test_json_flat_and_nested() -> None:
    for data in (ROW, [ROW]):
        request = parse(document(data=data))
        assert request.inputs["x"].tolist() == [ROW]
        assert request.rows == 1


def test_binary_tensor_is_a_view() -> None:
    request = parse(binary(), BYTES)
    assert request.inputs["x"].tolist() == [ROW]
    assert not request.inputs["x"].flags.owndata


def test_all_outputs_by_default_and_binary_as_asked() -> None:
    assert [(out.name, out.binary) for out in parse(document()).outputs] == [("logits", False), ("best", False)]
    asked = parse(document() | {"parameters": {"binary_data_output": True}})
    assert [out.binary for out in asked.outputs] == [True, True]
    wanted = [{"name": "best"}, {"name": "logits", "parameters": {"binary_data": False, "classification": 2}}]
    chosen = parse(document() | {"parameters": {"binary_data_output": True}, "outputs": wanted})
    assert [(out.name, out.binary, out.classes) for out in chosen.outputs] == [("best", True, 0), ("logits", False, 2)]


def test_id_and_timeout_and_unknown_fields() -> None:
    request = parse(document() | {"id": "7", "parameters": {"timeout": 2500, "mine": "x"}, "more": [1]})
    assert (request.id, request.timeout_s) == ("7", 0.0025)
    assert parse(document() | {"parameters": {"timeout": 0}}).timeout_s is None


def test_raw_body_is_one_row() -> None:
    request = parse_request(BYTES, "0", AFFINE_SPEC)
    assert request.inputs["x"].tolist() == [ROW]
    assert all(output.binary for output in request.outputs)


def test_raw_body_finds_the_open_axis() -> None:
    spec = echo_spec("int32", "batch", "length")
    assert parse_request(np.arange(5, dtype="<i4").tobytes(), "0", spec).inputs["x"].tolist() == [[0, 1, 2, 3, 4]]


def test_raw_body_of_text_is_one_element() -> None:
    assert parse_request(b"hello", "0", echo_spec("object", "batch", 1)).inputs["x"].tolist() == [[b"hello"]]


@pytest.mark.parametrize(
    ("body", "spec"),
    [
        (b"", AFFINE_SPEC),
        (BYTES + b"1", AFFINE_SPEC),
        (b"", echo_spec("int32", "batch", "length")),
        (b"12345", echo_spec("int32", "batch", "length")),
        (b"1234", echo_spec("int32", "batch", "length", "depth")),
        (b"two", echo_spec("object", "batch", 2)),
        (b"1234", ModelSpec(task="null", inputs=AFFINE_SPEC.inputs * 2, outputs=AFFINE_SPEC.outputs)),
    ],
)
def test_raw_body_that_does_not_fit(body: bytes, spec: ModelSpec) -> None:
    with pytest.raises(BadInputError):
        parse_request(body, "0", spec)


@pytest.mark.parametrize("length", ["-1", "1.5", "x", "", "99999", "1" * 30, "²", "0x10"])
def test_header_length_out_of_range(length: str) -> None:
    with pytest.raises(BadInputError, match="Inference-Header-Content-Length"):
        parse_request(b"{}", length, AFFINE_SPEC)


OUTPUTS = {"outputs": [{"name": "logits"}]}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (document(name="z"), "unknown; the model takes x"),
        (document(datatype="FP64"), "nothing is cast"),
        (document(datatype="FP31"), "not supported"),
        (document(shape=[1, 5]), "has shape"),
        (document(shape=[4]), "has shape"),
        (document(shape=[0, 4], data=[]), "has shape"),
        (document(shape=[-1, 4]), "shape"),
        (document(shape=["1", 4]), "shape"),
        (document(shape=[2, 4]), "4 values"),
        (document(shape=[2**62, 4]), "4 values"),
        (document(data=None), "FP32 values"),
        ({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32"}]}, "either"),
        (document(parameters={"binary_data_size": 16}), "either"),
        (binary(), "announces"),
        (document(data=["a", "b", "c", "d"]), "FP32 values"),
        (document(parameters={"shared_memory_region": "r"}), "shared memory"),
        ({"inputs": []}, "'x' is missing"),
        ({"inputs": document()["inputs"] * 2}, "twice"),
        ({}, "inputs"),
        ([], "V2"),
        (document() | {"id": 5}, "id"),
        (document() | {"parameters": {"triton_x": 1}}, "reserved"),
        (document() | {"parameters": {"sequence_id": 1}}, "reserved"),
        (document() | {"parameters": {"nested": {}}}, "parameters"),
        (document() | {"parameters": {"timeout": -1}}, "microseconds"),
        (document() | {"parameters": {"timeout": True}}, "microseconds"),
        (document() | {"parameters": {"timeout": "1"}}, "microseconds"),
        (document() | {"parameters": {"binary_data_output": 1}}, "true or false"),
        (document() | {"outputs": [{"name": "other"}]}, "the model gives logits, best"),
        (document() | {"outputs": [{"name": "best"}] * 2}, "twice"),
        (document() | {"outputs": [{"name": "best", "parameters": {"binary_data": "yes"}}]}, "true or false"),
        (document() | {"outputs": [{"name": "best", "parameters": {"shared_memory_region": "r"}}]}, "shared memory"),
        (document() | {"outputs": [{"name": "best", "parameters": {"classification": 0}}]}, "at least 1"),
        (document() | {"outputs": [{"name": "best", "parameters": {"classification": -1}}]}, "at least 1"),
        (document() | {"outputs": [{"name": "best", "parameters": {"classification": 1.5}}]}, "whole number"),
    ],
)
def test_one_sentence_for_each_mistake(value: Any, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        parse(value)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"null", b"[" * 100_000, b'{"inputs":' * 50_000])
def test_text_that_is_no_request(text: bytes) -> None:
    with pytest.raises(DocumentError):
        parse_request(text, None, AFFINE_SPEC)


@pytest.mark.parametrize(
    ("value", "tail"),
    [
        (binary(), BYTES[:-1]),
        (binary(), BYTES + b"x"),
        (document(), b"x"),
        (binary(shape=[2, 4]), BYTES),
        (
            {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": -4}}]},
            b"12345",
        ),
        (
            {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 1.5}}]},
            BYTES,
        ),
    ],
)
def test_binary_data_of_the_wrong_size(value: Any, tail: bytes) -> None:
    with pytest.raises(BadInputError):
        parse(value, tail)


TWO = ModelSpec(
    task="null",
    inputs=(
        TensorSpec(name="a", dtype="float32", shape=("batch", 2)),
        TensorSpec(name="b", dtype="int32", shape=("batch",)),
    ),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch",)),),
)


def two(rows: int) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "b", "shape": [rows], "datatype": "INT32", "data": [1] * rows},
            {"name": "a", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
        ]
    }


def test_inputs_in_any_order_json_and_binary_mixed() -> None:
    request = parse(two(1), np.array([[3, 4]], "<f4").tobytes(), TWO)
    assert list(request.inputs) == ["a", "b"]
    assert request.inputs["a"].tolist() == [[3.0, 4.0]]
    assert request.inputs["b"].tolist() == [1]


def test_inputs_must_agree_on_a_named_axis() -> None:
    with pytest.raises(BadInputError, match="'batch'"):
        parse(two(2), np.array([[3, 4]], "<f4").tobytes(), TWO)


def test_which_models_share_batches() -> None:
    assert can_merge(AFFINE_SPEC)
    assert can_merge(TWO)
    assert not can_merge(echo_spec("int32", 1, 2))
    assert not can_merge(echo_spec("int32", "batch", "batch"))
    assert not can_merge(
        ModelSpec(task="null", inputs=TWO.inputs, outputs=(TensorSpec(name="y", dtype="int8", shape=()),))
    )


@pytest.mark.parametrize(
    "spec", [ModelSpec(task="null", inputs=(), outputs=()), echo_spec("complex64"), echo_spec("nonsense")]
)
def test_a_spec_that_the_protocol_cannot_carry(spec: ModelSpec) -> None:
    with pytest.raises(BadInputError):
        check_servable(spec)
