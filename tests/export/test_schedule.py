"""The order of work."""

from hypothesis import given
from hypothesis import strategies as st

from wherry.core.variant import Target
from wherry.export.schedule import longest_first, seconds_of


def test_the_head_of_the_longest_chain_comes_first():
    seconds = {"onnx": 5.0, "openvino": 2.0, "onnx-int8": 9.0, "tflite": 8.0, "pt2": 1.0}
    parents = {"onnx": None, "openvino": "onnx", "onnx-int8": "onnx", "tflite": None, "pt2": None}
    assert longest_first(seconds, parents) == ["onnx", "onnx-int8", "tflite", "openvino", "pt2"]


def test_calibrating_takes_longer_and_unknown_formats_have_a_place():
    assert seconds_of(Target(format="onnx", precision="int8")) > seconds_of(Target(format="onnx"))
    assert seconds_of(Target(format="papyrus")) > seconds_of(Target(format="pt2"))


@given(st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 9)), min_size=1, max_size=10))
def test_nobody_stands_before_its_parent(steps):
    seconds = {index: cost for index, (cost, _) in enumerate(steps)}
    parents = {index: parent if parent < index else None for index, (_, parent) in enumerate(steps)}
    order = longest_first(seconds, parents)
    assert sorted(order) == sorted(seconds)
    assert all(parent is None or order.index(parent) < order.index(index) for index, parent in parents.items())
