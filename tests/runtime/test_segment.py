import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.runtime.segment import class_map, confidence, segment


@given(hnp.arrays(np.float32, (2, 4, 3, 5), elements={"min_value": -9, "max_value": 9}))
def test_the_class_is_the_largest_logit(logits):
    assert np.array_equal(class_map(logits), logits.argmax(axis=1))
    powers = np.exp(logits.astype(np.float64))
    expected = (powers / powers.sum(axis=1, keepdims=True)).max(axis=1)
    np.testing.assert_allclose(confidence(logits), expected, rtol=1e-5)


def test_one_class_is_a_foreground():
    logits = np.array([[[[-1.0, 0.0, 2.0]]]], np.float32)
    y = TensorSpec(name="y", dtype="float32", shape=("n", 1, 1, 3))
    assert segment({"y": logits}, ModelSpec(task="segmentation", inputs=(y,), outputs=(y,))).tolist() == [[[0, 0, 1]]]
    np.testing.assert_allclose(confidence(logits)[0, 0], [1 / (1 + np.exp(-1)), 0.5, 1 / (1 + np.exp(-2))], rtol=1e-6)


def test_what_is_no_class_map_is_refused():
    with pytest.raises(BadInputError, match="no class map"):
        class_map(np.zeros((2, 3)))
    with pytest.raises(BadInputError, match="no class map"):
        class_map(np.zeros((2, 0, 3, 3)))
    with pytest.raises(BadInputError, match="not finite"):
        class_map(np.full((1, 2, 3, 3), np.inf))
