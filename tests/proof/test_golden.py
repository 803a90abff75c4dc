import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wherry.core.errors import BadInputError
from wherry.proof.golden import GoldenSet, load_golden


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.tuples(
            hnp.arrays(np.uint8, (n, 3, 2)),
            hnp.arrays(np.float32, (n, 4), elements=st.floats(-1e3, 1e3, width=32)),
            st.none()
            | hnp.arrays(np.int64, (n,), elements=st.integers(0, 9))
            | hnp.arrays(np.float32, (n, 2, 5), elements=st.floats(-1, 9, width=32)),
            st.sampled_from([(), ("a", "ß")]),
        )
    )
)
def test_round_trip_and_equal_bytes(parts):
    raw, reference, labels, names = parts
    golden = GoldenSet(
        raw=raw, references={"y": reference}, labels=labels, prepared={"x": reference[:1]}, class_names=names
    )
    data = golden.to_bytes()
    again = GoldenSet.from_bytes(data)
    assert again.to_bytes() == data
    np.testing.assert_array_equal(again.raw, raw)
    np.testing.assert_array_equal(again.references["y"], reference)
    assert (again.labels is None) == (labels is None)
    assert again.class_names == names
    np.testing.assert_array_equal(again.prepared["x"], reference[:1])


def test_lengths_must_agree():
    raw = np.zeros((3, 2), np.uint8)
    with pytest.raises(BadInputError, match="same number"):
        GoldenSet(raw=raw, references={"y": np.zeros((2, 1))})
    with pytest.raises(BadInputError, match="same number"):
        GoldenSet(raw=raw, references={"y": np.zeros((3, 1))}, labels=np.zeros(4, np.int64))
    with pytest.raises(BadInputError, match="same number"):
        GoldenSet(raw=raw[:0], references={"y": np.zeros((0, 1))})
    with pytest.raises(BadInputError, match="same number"):
        GoldenSet(raw=raw, references={})


def test_prepared_inputs_are_of_some_of_the_samples():
    raw, references = np.zeros((3, 2), np.uint8), {"y": np.zeros((3, 1))}
    for prepared in ({"x": np.zeros((4, 2))}, {"x": np.zeros((0, 2))}, {"x": raw, "z": raw[:1]}):
        with pytest.raises(BadInputError, match="prepared"):
            GoldenSet(raw=raw, references=references, prepared=prepared)


def test_damage_is_found_at_every_length(golden):
    data = golden.to_bytes()
    for length in range(0, len(data), 97):
        with pytest.raises(BadInputError):
            GoldenSet.from_bytes(data[:length])


def test_objects_are_not_loaded(tmp_path):
    path = tmp_path / "golden.npz"
    np.savez(path, raw=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInputError, match="cannot be read"):
        load_golden(path, __import__("hashlib").sha256(path.read_bytes()).hexdigest())
    np.savez(path, other=np.zeros(3))
    with pytest.raises(BadInputError, match="raw"):
        GoldenSet.from_bytes(path.read_bytes())
