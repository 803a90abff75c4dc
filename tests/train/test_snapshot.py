"""A data set is counted by content, in any order, and every change is seen."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.core.codec import from_json, to_builtins, to_json
from wherry.core.errors import BadInputError, DocumentError
from wherry.train.examples import Examples
from wherry.train.snapshot import DatasetSnapshot, delta, identities, read_snapshot, snapshot, unseen

NAMES = ("cat", "dog", "owl")
Pairs = list[tuple[int, int]]
pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=12)


def examples(items: Pairs, names: tuple[str, ...] = NAMES) -> Examples:
    images = np.array([np.full((2, 2), pixel) for pixel, _ in items], dtype=np.uint8).reshape(-1, 2, 2)
    return Examples(images=images, labels=np.array([label for _, label in items], dtype=np.int64), class_names=names)


def naive_delta(old: Pairs, new: Pairs) -> tuple[int, int, int]:
    """Cross out what is in both, then pair what is left of each image: those were relabelled."""
    gone, came = list(old), list(new)
    for pair in old:
        if pair in came:
            came.remove(pair)
            gone.remove(pair)
    relabelled = 0
    for pair in list(gone):
        match = next((other for other in came if other[0] == pair[0]), None)
        if match is not None:
            came.remove(match)
            gone.remove(pair)
            relabelled += 1
    return len(came), len(gone), relabelled


@given(old=pairs, new=pairs)
def test_a_delta_counts_what_a_person_would_count(old: Pairs, new: Pairs) -> None:
    before, after = snapshot(examples(old)), snapshot(examples(new))

    found = delta(before, after)

    assert (found.new, found.removed, found.relabelled) == naive_delta(old, new)
    assert found.total == len(new) == before.total + found.new - found.removed


@given(items=pairs, seed=st.integers(0, 100))
def test_a_snapshot_counts_and_does_not_know_the_order(items: Pairs, seed: int) -> None:
    taken = snapshot(examples(items))
    shuffled = [items[index] for index in np.random.default_rng(seed).permutation(len(items))]

    assert snapshot(examples(shuffled)) == taken
    assert taken.total == len(items)
    assert taken.duplicates == len(items) - len(set(items))
    assert taken.per_class == {name: Counter(label for _, label in items)[number] for number, name in enumerate(NAMES)}
    assert read_snapshot(to_json(taken)) == taken


@given(old=pairs, new=pairs)
def test_equal_digests_mean_equal_contents(old: Pairs, new: Pairs) -> None:
    assert (snapshot(examples(old)).digest == snapshot(examples(new)).digest) == (sorted(old) == sorted(new))


def test_without_an_older_snapshot_everything_is_new() -> None:
    found = delta(None, snapshot(examples([(1, 0), (1, 0), (2, 1)])))

    assert (found.total, found.new, found.removed, found.relabelled) == (3, 3, 0, 0)


def test_labels_are_compared_by_name_and_images_by_shape() -> None:
    items: Pairs = [(1, 0), (2, 1)]
    renumbered = examples([(1, 1), (2, 0)], ("dog", "cat", "owl"))
    assert delta(snapshot(examples(items)), snapshot(renumbered)).relabelled == 0

    flat = Examples(images=np.zeros((1, 1, 4), np.uint8), labels=np.zeros(1, np.int64), class_names=NAMES)
    square = Examples(images=np.zeros((1, 2, 2), np.uint8), labels=np.zeros(1, np.int64), class_names=NAMES)
    assert identities(flat) != identities(square)


def test_unseen_examples_are_new_or_relabelled() -> None:
    before = snapshot(examples([(1, 0), (2, 1)]))

    assert unseen(examples([(1, 0), (2, 2), (3, 0), (2, 1)]), before).tolist() == [False, True, True, False]
    assert unseen(examples([(1, 0)]), None).tolist() == [True]


@pytest.mark.parametrize(
    "change",
    [{"total": 9}, {"duplicates": 1}, {"digest": "0" * 64}, {"per_class": {"cat": 1, "dog": 1, "owl": 1}}],
)
def test_a_snapshot_that_was_tampered_with_is_refused(change: dict[str, object]) -> None:
    taken = snapshot(examples([(1, 0), (2, 1)]))

    with pytest.raises(DocumentError, match="counts and digest"):
        read_snapshot(to_json(dataclasses.replace(taken, **change)))
    with pytest.raises(DocumentError, match="schema"):
        read_snapshot(to_json(to_builtins(taken) | {"schema": 2}))
    assert from_json(to_json(taken), DatasetSnapshot, what="it") == taken


IMAGES = np.zeros((2, 4, 4), np.uint8)
LABELS = np.zeros(2, np.int64)


@pytest.mark.parametrize(
    ("images", "labels", "names"),
    [
        (IMAGES.astype(np.float32), LABELS, NAMES),
        (IMAGES[0], LABELS, NAMES),
        (IMAGES, LABELS[:1], NAMES),
        (IMAGES, LABELS.astype(np.float64), NAMES),
        (IMAGES, LABELS[:, None], NAMES),
        (IMAGES, LABELS + 3, NAMES),
        (IMAGES, LABELS - 1, NAMES),
        (IMAGES, LABELS, ("cat", "cat")),
    ],
)
def test_examples_that_do_not_fit_each_other_are_refused(
    images: np.ndarray, labels: np.ndarray, names: tuple[str, ...]
) -> None:
    with pytest.raises(BadInputError) as error:
        Examples(images=images, labels=labels, class_names=names)
    assert error.value.exit_code == 4


def test_examples_are_joined_only_with_their_like() -> None:
    both = examples([(1, 0)]).joined(examples([(2, 1)]))

    assert both.labels.tolist() == [0, 1]
    with pytest.raises(BadInputError, match="differ"):
        both.joined(examples([(2, 1)], ("cat", "dog", "bee")))
