from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wherry.core.errors import BadInputError
from wherry.serving.tensors import (
    DATATYPES,
    datatype_of,
    decode_binary,
    decode_json,
    dtype_of,
    encode_binary,
    encode_json,
)

_SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def tensors(draw: st.DrawFn, *, finite: bool = False, text: bool = False) -> Any:
    datatype = draw(st.sampled_from(sorted(DATATYPES)))
    shape = draw(_SHAPES)
    if datatype == "BYTES":
        items = st.text(max_size=8).map(str.encode) if text else st.binary(max_size=8)
        flat = np.empty(int(np.prod(shape)), np.object_)
        flat[:] = draw(st.lists(items, min_size=flat.size, max_size=flat.size))
        return datatype, flat.reshape(shape)
    elements = {"allow_nan": False, "allow_infinity": False} if finite and datatype.startswith("FP") else None
    return datatype, draw(hnp.arrays(DATATYPES[datatype], shape, elements=elements))


def same(first: Any, second: Any) -> bool:
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


@given(tensors())
def test_binary_comes_back_bit_for_bit(case: Any) -> None:
    datatype, array = case
    data = bytes(encode_binary(array))
    back = decode_binary(memoryview(data), datatype, array.shape, "x")
    assert datatype_of(array.dtype) == datatype
    if datatype == "BYTES":
        assert back.shape == array.shape
        assert back.ravel().tolist() == array.ravel().tolist()
    else:
        assert same(back, array)


@given(tensors(finite=True, text=True), st.booleans())
def test_json_comes_back_bit_for_bit(case: Any, nested: bool) -> None:
    datatype, array = case
    if datatype == "FP16":
        with pytest.raises(BadInputError, match="FP16"):
            encode_json(array, "x")
        with pytest.raises(BadInputError, match="FP16"):
            decode_json(b"[]", datatype, array.shape, "x")
        return
    document = encode_json(array, "x")
    if nested and array.size and array.ndim:
        document = (np.array(document, np.object_) if datatype == "BYTES" else document).reshape(array.shape).tolist()
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    back = decode_json(text, datatype, array.shape, "x")
    if datatype == "BYTES":
        assert back.ravel().tolist() == array.ravel().tolist()
    else:
        assert same(back, array)
    assert back.shape == array.shape


@given(tensors(), st.data())
def test_a_wrong_number_of_bytes_is_refused(case: Any, data: st.DataObject) -> None:
    datatype, array = case
    body = bytes(encode_binary(array))
    wrong = data.draw(
        st.one_of(st.just(body + b"\x07"), st.integers(0, max(0, len(body) - 1)).map(lambda cut: body[:cut]))
    )
    if wrong == body:
        return
    with pytest.raises(BadInputError, match="'x'"):
        decode_binary(memoryview(wrong), datatype, array.shape, "x")


@pytest.mark.parametrize(
    ("text", "datatype", "shape"),
    [
        (b"[1.5]", "INT32", [1]),
        (b"[128]", "INT8", [1]),
        (b"[-129]", "INT8", [1]),
        (b"[-1]", "UINT8", [1]),
        (b"[18446744073709551616]", "UINT64", [1]),
        (b"[9223372036854775808]", "INT64", [1]),
        (b"[1e39]", "FP32", [1]),
        (b"[1e400]", "FP64", [1]),
        (b"[true]", "INT32", [1]),
        (b"[true]", "FP32", [1]),
        (b"[1]", "BOOL", [1]),
        (b'["1"]', "FP32", [1]),
        (b"[null]", "FP32", [1]),
        (b"[1]", "BYTES", [1]),
        (b'["\xff"]', "BYTES", [1]),
        (b"[1, 2]", "FP32", [3]),
        (b"[[1, 2], [3]]", "FP32", [2, 2]),
        (b"[[1, 2, 3, 4]]", "FP32", [2, 2]),
        (b"[[1], 2]", "FP32", [2, 1]),
        (b"5", "FP32", [1]),
        (b"{}", "FP32", [1]),
        (b"[" * 100_000, "FP32", [1]),
        (b"[1]", "COMPLEX", [1]),
    ],
)
def test_what_json_cannot_mean_is_refused(text: bytes, datatype: str, shape: list[int]) -> None:
    with pytest.raises(BadInputError):
        decode_json(msgspec.Raw(text), datatype, shape, "x")


def test_whole_numbers_are_floats_too() -> None:
    assert decode_json(b" [ [1, 2.5], [3, 4] ]", "FP32", [2, 2], "x").tolist() == [[1.0, 2.5], [3.0, 4.0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_json_does_not_carry_infinity(value: float) -> None:
    with pytest.raises(BadInputError, match="binary"):
        encode_json(np.array([value], np.float32), "y")


def test_json_does_not_carry_bytes_that_are_no_text() -> None:
    with pytest.raises(BadInputError, match="UTF-8"):
        encode_json(np.array([b"\xff"], np.object_), "y")


def test_big_endian_and_strided_arrays_are_sent_little_endian_in_row_major_order() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3).T
    assert bytes(encode_binary(array)) == np.array([0, 3, 1, 4, 2, 5], "<i4").tobytes()
    assert orjson.dumps(encode_json(array, "y"), option=orjson.OPT_SERIALIZE_NUMPY) == b"[0,3,1,4,2,5]"


def test_any_byte_but_zero_is_true() -> None:
    assert decode_binary(memoryview(b"\x00\x01\x02"), "BOOL", [3], "x").tolist() == [False, True, True]


def test_strings_of_numpy_are_bytes_too() -> None:
    assert bytes(encode_binary(np.array(["ä"]))) == b"\x02\x00\x00\x00\xc3\xa4"


def test_what_the_protocol_has_no_word_for() -> None:
    with pytest.raises(BadInputError, match="complex64"):
        datatype_of(np.dtype(np.complex64))
    with pytest.raises(BadInputError, match="BF16"):
        dtype_of("BF16")
