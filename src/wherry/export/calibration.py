"""Calibration sets: the real examples that set the ranges of an int8 variant. There is no default set."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wherry.core.digest import sha256_hex
from wherry.core.errors import BadInputError, StorageError
from wherry.core.model import ModelSpec
from wherry.core.variant import CalibrationManifest
from wherry.runtime.interface import Array, Tensors
from wherry.runtime.preprocess import prepare

STEP = 16
"""Examples at a time through a calibration, so that memory does not grow with the set."""
FEW = 50
"""Below this many examples the ranges are a guess (TensorFlow Lite and ultralytics advise 100 and 300)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSet:
    """An opened calibration set."""

    raw: Array
    """Raw examples, batch axis first, as `prepare` takes them."""
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]


def calibration_from_arrays(
    raw: Array, labels: Iterable[int], class_names: Sequence[str], source: str, path: Path
) -> CalibrationManifest:
    """Write a calibration set to `path` (`.npz`) and return its manifest; equal examples give equal bytes.

    Args:
        raw: raw examples, batch axis first.
        labels: class index of each example; empty when there are no classes.
        class_names: names of the classes, so that a class without examples is noticed.
        source: where the examples come from, for the reader of a receipt.
        path: the file to write, ending in `.npz`.

    Raises:
        BadInputError: there are no examples, or labels and examples do not fit together.
        StorageError: the file could not be written.
    """
    marks = np.array(list(labels), dtype=np.int64)
    _check(raw, marks, class_names)
    try:
        with path.open("wb") as stream:
            np.savez(stream, raw=raw, labels=marks, class_names=np.array(list(class_names), dtype=np.str_))
        digest = sha256_hex(path.read_bytes())
    except OSError as error:
        msg = f"The calibration set could not be written to {path}: {error.strerror}."
        raise StorageError(msg) from error
    per_class = _per_class(marks, class_names)
    warnings = [f"No example of class {name!r}." for name, count in per_class.items() if count == 0]
    if len(raw) < FEW:
        warnings.insert(0, f"Only {len(raw)} examples; ranges from fewer than {FEW} are a guess.")
    return CalibrationManifest(
        sha256=digest, samples=len(raw), source=source, per_class=per_class, warnings=tuple(warnings)
    )


def open_calibration(path: Path) -> CalibrationSet:
    """Open a set that `calibration_from_arrays` wrote; nothing is unpickled.

    Raises:
        BadInputError: it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = tuple(str(name) for name in stored["class_names"])
            return CalibrationSet(raw=stored["raw"], labels=stored["labels"], class_names=names)
    except Exception as error:  # numpy and zipfile raise half a dozen kinds for a damaged file
        msg = f"{path} is not a calibration set."
        raise BadInputError(msg, next_step="Write one with `calibration_from_arrays`.") from error


def prepared_batches(path: Path | None, spec: ModelSpec, *, most: int | None = None) -> Iterator[Tensors]:
    """Yield a calibration set through the model's own preprocessing, a few examples at a time.

    Args:
        path: what `calibration_from_arrays` wrote; None yields nothing.
        spec: what the network takes; a fixed batch is filled up with the last example, which changes no range.
        most: how many examples at most, from the start.

    Raises:
        BadInputError: it is no calibration set, or its examples do not fit the spec.
    """
    if path is None:
        return
    raw = open_calibration(path).raw[:most]
    first = spec.inputs[0].shape[0]
    fixed = first if isinstance(first, int) else None
    for start in range(0, len(raw), fixed or STEP):
        piece = raw[start : start + (fixed or STEP)]
        if fixed and len(piece) < fixed:
            piece = np.concatenate([piece, np.repeat(piece[-1:], fixed - len(piece), axis=0)])
        yield prepare(piece, spec)


def check_disjoint(calibration: Array, evaluation: Array) -> None:
    """Refuse a calibration set that shares an example with the evaluation set, compared by content.

    Raises:
        BadInputError: they overlap; accuracy would be measured on what set the ranges.
    """
    seen = {_content(example) for example in calibration}
    shared = sum(_content(example) in seen for example in evaluation)
    if shared:
        msg = f"{shared} of {len(evaluation)} evaluation examples are in the calibration set too."
        raise BadInputError(msg, next_step="Calibrate with other examples, such as those of the training set.")


def _content(example: Array) -> str:
    array = np.asarray(example)
    return sha256_hex(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes())


def _per_class(labels: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, int]:
    counts = Counter(int(label) for label in labels)
    if not class_names:
        return {str(index): count for index, count in sorted(counts.items())}
    return {name: counts[index] for index, name in enumerate(class_names)} if counts else {}


def _check(raw: Array, labels: NDArray[np.int64], class_names: Sequence[str]) -> None:
    if raw.ndim < 1 or len(raw) == 0 or raw.dtype.hasobject:
        msg = f"A calibration set of dtype {raw.dtype} and shape {list(raw.shape)} holds no examples."
        raise BadInputError(msg, next_step="Give at least one raw example, better a hundred.")
    if len(labels) not in (0, len(raw)):
        msg = f"There are {len(labels)} labels for {len(raw)} calibration examples."
        raise BadInputError(msg)
    if class_names and len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names):
        msg = f"Calibration labels go from {labels.min()} to {labels.max()}, and there are {len(class_names)} classes."
        raise BadInputError(msg)
