"""Pairs of the linear engine, whose answers are known: reordered classes, other weights, other preprocessing."""

from dataclasses import replace

import numpy as np
import pytest

from wherry.core.digest import sha256_hex
from wherry.core.errors import BadInputError
from wherry.core.model import TensorSpec
from wherry.proof.pair import Half, PairJob, compare_pair, speed_of


@pytest.fixture
def pair(subject, tmp_path, golden):
    """Return a function that compares the subject with one whose weights or spec are changed."""
    path = tmp_path / "golden.npz"
    path.write_bytes(golden.to_bytes())
    sets = ((str(path), sha256_hex(path.read_bytes())),)

    def compare(change=None, left_spec=None, right_spec=None):
        whole = subject()
        kept = tmp_path / "left.npz"
        kept.write_bytes(whole.main.read_bytes())
        other = subject(change=change) if change else whole
        job = PairJob(
            left=Half(main=str(kept), engine="linear", batch=None, spec=left_spec or whole.spec),
            right=Half(main=str(other.main), engine="linear", batch=None, spec=right_spec or whole.spec),
            sets=sets,
            seconds=0.05,
        )
        return compare_pair(job)

    return compare


def test_the_same_twice(pair):
    found = pair()
    assert found.examples == 100
    assert found.agreement["agreement"] == 1.0
    assert (found.mean_confidence_drift, found.max_confidence_drift) == (0.0, 0.0)
    assert found.quality == "accuracy"
    assert found.left_quality == found.right_quality == 1.0
    assert found.input_difference == 0.0
    assert found.speed.calls >= 100
    assert found.left_ci95[0] <= found.left_ms <= found.left_ci95[1]


def test_other_weights_give_other_answers(pair):
    found = pair(change=lambda weights: -weights)
    assert found.agreement["agreement"] < 0.5
    assert found.mean_confidence_drift > 0.1
    assert found.right_quality < found.left_quality == 1.0


def test_classes_are_matched_by_name(pair, spec):
    named = replace(spec, class_names=("a", "b", "c"))
    moved = replace(spec, class_names=("c", "a", "b"))
    found = pair(change=lambda weights: weights[:, [2, 0, 1]], left_spec=named, right_spec=moved)
    assert found.agreement["agreement"] == 1.0
    assert found.max_confidence_drift < 1e-6
    swapped = pair(left_spec=named, right_spec=moved)  # same weights, other names: other answers
    assert swapped.agreement["agreement"] == 0.0


def test_what_cannot_be_compared_is_said(pair, spec):
    named = replace(spec, class_names=("a", "b", "c"))
    other = pair(left_spec=named, right_spec=replace(spec, class_names=("x", "y", "z")))
    assert other.agreement == {}
    assert other.mean_confidence_drift is other.quality is None
    assert other.notes == ("They know different classes: their answers are not compared.",)
    task = pair(left_spec=replace(spec, task="embedding"))
    assert "One is for embedding, the other for classification" in task.notes[0]


def test_another_preprocessing_shows_in_the_input(pair, spec):
    brighter = replace(spec, preprocessing=replace(spec.preprocessing, scale=spec.preprocessing.scale * 2))
    found = pair(left_spec=brighter)
    assert found.input_difference == pytest.approx(16 * spec.preprocessing.scale)


def test_examples_that_one_cannot_take(pair, spec):
    wide = replace(spec, inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 1, 9, 9)),))
    with pytest.raises(BadInputError, match="The first of the two cannot take the examples of the second"):
        pair(left_spec=wide)


def rounds(first, second, again=None, noise=0.0):
    rng = np.random.default_rng(0)
    base = np.array([first, second, first if again is None else again])
    return base[:, None, None] * rng.normal(1.0, noise or 1e-6, (3, 40, 5))


def test_twice_as_fast_is_twice_as_fast():
    speed = speed_of(rounds(2.0, 1.0, noise=0.02))
    assert speed.ratio == pytest.approx(2.0, rel=0.02)
    assert speed.ci95[0] < 2.0 < speed.ci95[1]
    assert not speed.same


def test_what_lies_within_the_noise_is_the_same():
    assert speed_of(rounds(1.0, 1.0, noise=0.05)).same
    assert speed_of(rounds(1.01, 1.0)).same  # below 2 %: no machine is that still
    assert not speed_of(rounds(1.1, 1.0)).same
    lucky = speed_of(rounds(1.1, 1.0, again=0.99))  # opened again, the first is faster than the second
    assert lucky.noise == pytest.approx(0.111, rel=0.01)
    assert lucky.same
