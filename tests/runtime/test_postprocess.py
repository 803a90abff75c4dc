"""Softmax and the best classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wherry.core.errors import BadInputError, SpecMismatchError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.runtime.postprocess import classify, softmax, top_k

ROWS = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.floats(-1e6, 1e6))


@given(ROWS, st.floats(-1e6, 1e6))
def test_softmax_sums_to_one_and_ignores_an_offset(logits: np.ndarray, offset: float):
    found = softmax(logits)
    np.testing.assert_allclose(found.sum(axis=-1), 1.0)
    np.testing.assert_allclose(softmax(logits + offset), found, atol=1e-6)


def test_softmax_by_hand_and_dtypes():
    np.testing.assert_allclose(softmax(np.log(np.array([[1.0, 3.0]]))), [[0.25, 0.75]])
    assert softmax(np.array([[6e4, -6e4]], np.float16)).dtype == np.float16
    assert softmax(np.array([[1, 2]])).dtype == np.float32


@given(ROWS, st.integers(1, 7))
def test_top_k_is_the_head_of_a_sorted_row(scores: np.ndarray, k: int):
    for row, best in zip(scores, top_k(scores, k=k), strict=True):
        expected = sorted(range(len(row)), key=lambda index: (-row[index], index))[:k]
        assert [guess.index for guess in best] == expected
        assert [guess.name for guess in best] == [str(index) for index in expected]


def test_classify_follows_the_spec():
    x = TensorSpec(name="logits", dtype="float32", shape=("n", 2))
    spec = ModelSpec(
        task="classification", inputs=(x,), outputs=(x,), postprocessing="softmax", class_names=("cat", "dog")
    )
    outputs = {"logits": np.log(np.array([[1, 3]], np.float32))}
    best = classify(outputs, spec, k=1)[0][0]
    assert (best.index, best.name) == (1, "dog")
    assert best.probability == pytest.approx(0.75)
    plain = ModelSpec(task="classification", inputs=(x,), outputs=(x,))
    assert classify(outputs, plain)[0][0].probability == pytest.approx(np.log(3))


def test_what_does_not_fit_is_refused():
    with pytest.raises(SpecMismatchError, match="3 class names for 2"):
        top_k(np.zeros((1, 2)), ["a", "b", "c"])
    with pytest.raises(BadInputError, match="cannot be named"):
        top_k(np.zeros(2))
    with pytest.raises(BadInputError, match="cannot be named"):
        top_k(np.zeros((1, 2)), k=0)
    with pytest.raises(BadInputError, match="not finite"):
        top_k(np.array([[np.nan, 1.0]]))
    with pytest.raises(BadInputError, match="not finite"):
        softmax(np.array([np.inf, 1.0]))
    with pytest.raises(BadInputError, match="no classes"):
        softmax(np.zeros((3, 0)))
    with pytest.raises(BadInputError, match="no classes"):
        softmax(np.array(["a"]))
