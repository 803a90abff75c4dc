import numpy as np
import orjson
import pytest

from wherry.core.errors import BadInputError
from wherry.serving.request import InferRequest, RequestedOutput
from wherry.serving.response import build_reply, classify

SCORES = np.array([[0.5, 2.0, -1.0], [3.0, 3.0, 4.0]], np.float32)


def asked(*outputs: RequestedOutput, name: str = "") -> InferRequest:
    return InferRequest(inputs={"x": np.zeros((2, 1))}, outputs=outputs, id=name)


def test_json_reply() -> None:
    reply = build_reply("m", 3, asked(RequestedOutput(name="y"), name="i"), {"y": SCORES, "z": SCORES}, ())
    assert reply.header_length is None
    assert orjson.loads(reply.body) == {
        "model_name": "m",
        "model_version": "3",
        "id": "i",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2, 3], "data": [0.5, 2.0, -1.0, 3.0, 3.0, 4.0]}],
    }


def test_binary_and_json_in_the_order_asked_for() -> None:
    wanted = (RequestedOutput(name="z", binary=True), RequestedOutput(name="y"), RequestedOutput(name="w", binary=True))
    outputs = {"y": np.array([True]), "z": np.array([1, 2], np.int16), "w": np.array([b"ab"], np.object_)}
    reply = build_reply("m", 1, asked(*wanted), outputs, ())
    assert reply.header_length is not None
    document = orjson.loads(reply.body[: reply.header_length])
    assert "id" not in document
    assert document["outputs"] == [
        {"name": "z", "datatype": "INT16", "shape": [2], "parameters": {"binary_data_size": 4}},
        {"name": "y", "datatype": "BOOL", "shape": [1], "data": [True]},
        {"name": "w", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}},
    ]
    assert reply.body[reply.header_length :] == b"\x01\x00\x02\x00\x02\x00\x00\x00ab"


def test_classes_best_first_ties_in_order() -> None:
    named = classify(SCORES, 2, ["a", "b", "c"], "y")
    assert named.tolist() == [[b"2.000000:1:b", b"0.500000:0:a"], [b"4.000000:2:c", b"3.000000:0:a"]]
    assert classify(SCORES, 1, [], "y").tolist() == [[b"2.000000:1"], [b"4.000000:2"]]


def test_more_classes_than_there_are_and_whole_numbers() -> None:
    assert classify(np.array([[1, 9]], np.uint8), 5, (), "y").tolist() == [[b"9:1", b"1:0"]]
    assert classify(np.array([7, 8]), 5, (), "y").tolist() == [[b"7:0"], [b"8:0"]]


def test_text_has_no_best() -> None:
    with pytest.raises(BadInputError, match="BYTES"):
        classify(np.array([[b"a"]], np.object_), 1, (), "y")
