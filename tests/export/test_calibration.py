"""Calibration sets: written, described, opened again, kept apart from the evaluation set."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wherry.core.errors import BadInputError, StorageError
from wherry.export.calibration import calibration_from_arrays, check_disjoint, open_calibration
from wherry.export.child import file_ref

RAW = np.random.default_rng(1).integers(0, 256, (60, 4, 4), dtype=np.uint8)


def test_what_is_written_is_opened_again(tmp_path: Path):
    path = tmp_path / "c.npz"
    manifest = calibration_from_arrays(RAW, [index % 2 for index in range(60)], ["cat", "dog"], "training", path)
    assert manifest.sha256 == file_ref(tmp_path, "c.npz").sha256
    assert (manifest.samples, manifest.source) == (60, "training")
    assert manifest.per_class == {"cat": 30, "dog": 30}
    assert manifest.warnings == ()
    opened = open_calibration(path)
    assert np.array_equal(opened.raw, RAW)
    assert opened.labels.tolist() == [0, 1] * 30
    assert opened.class_names == ("cat", "dog")


def test_equal_examples_give_equal_bytes(tmp_path: Path):
    found = [calibration_from_arrays(RAW, [], [], "x", tmp_path / f"{index}.npz") for index in range(2)]
    assert found[0] == found[1]
    other = calibration_from_arrays(RAW[::-1], [], [], "x", tmp_path / "2.npz")
    assert other.sha256 != found[0].sha256


def test_thin_sets_are_warned_about(tmp_path: Path):
    manifest = calibration_from_arrays(RAW[:3], [0, 0, 2], ["a", "b", "c"], "x", tmp_path / "c.npz")
    assert manifest.per_class == {"a": 2, "b": 0, "c": 1}
    assert manifest.warnings == (
        "Only 3 examples; ranges from fewer than 50 are a guess.",
        "No example of class 'b'.",
    )
    unnamed = calibration_from_arrays(RAW[:3], [7, 0, 7], [], "x", tmp_path / "c.npz")
    assert unnamed.per_class == {"0": 1, "7": 2}
    unlabelled = calibration_from_arrays(RAW, [], ["a", "b"], "x", tmp_path / "c.npz")
    assert (unlabelled.per_class, unlabelled.warnings) == ({}, ())


@pytest.mark.parametrize(
    ("raw", "labels", "words"),
    [
        (RAW[:0], [], "no examples"),
        (np.float32(1), [], "no examples"),
        (np.array([None]), [], "no examples"),
        (RAW, [0], "1 labels for 60"),
        (RAW[:2], [0, 2], "class 2, and there are 2 classes"),
        (RAW[:2], [-1, 1], "class -1, and"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, raw, labels, words: str):
    with pytest.raises(BadInputError, match=words):
        calibration_from_arrays(raw, labels, ["a", "b"], "x", tmp_path / "c.npz")
    assert not (tmp_path / "c.npz").exists()


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path):
    with pytest.raises(StorageError, match="could not be written"):
        calibration_from_arrays(RAW, [], [], "x", tmp_path / "absent" / "c.npz")


def test_what_is_no_set_is_refused(tmp_path: Path):
    path = tmp_path / "c.npz"
    with pytest.raises(BadInputError, match="is not a calibration set"):
        open_calibration(path)
    path.write_bytes(b"garbage")
    with pytest.raises(BadInputError, match="is not a calibration set"):
        open_calibration(path)
    np.savez(path, raw=np.array([{}], dtype=object), labels=np.zeros(1), class_names=np.array(["a"]))
    with pytest.raises(BadInputError, match="is not a calibration set"):
        open_calibration(path)


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(2))),
    arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(2))),
)
def test_overlap_is_found_by_content(calibration: np.ndarray, evaluation: np.ndarray):
    shared = sum(any((row == other).all() for other in calibration) for row in evaluation)
    if shared:
        with pytest.raises(BadInputError, match=f"^{shared} of {len(evaluation)} "):
            check_disjoint(calibration, evaluation)
    else:
        check_disjoint(calibration, evaluation)
