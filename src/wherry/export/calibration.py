"""Calibration sets: the real examples that set the ranges of an int8 variant. There is no default set."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wherry.core.digest import sha256_hex
from wherry.core.errors import BadInputError, StorageError
from wherry.core.model import ModelSpec
from wherry.core.variant import CalibrationManifest
from wherry.export.calibration_file import CalibrationSet, open_calibration, write_set
from wherry.runtime.interface import Array
from wherry.runtime.preprocess import prepare

__all__ = [
    "FEW",
    "CalibrationExample",
    "CalibrationSet",
    "calibration_from_arrays",
    "check_disjoint",
    "contents",
    "open_calibration",
    "range_stability",
    "write_calibration",
]

FEW = 50
"""Below this many examples the ranges are a guess (TensorFlow Lite and ultralytics advise 100 and 300)."""
UNSTABLE = 0.1
"""Two halves whose input ranges differ by more than a tenth did not come from one distribution."""
_IGNORED = 255  # the label of pixels that count for no class, as in Pascal VOC and Cityscapes
_STEP = 16  # examples that are prepared at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationExample:
    """One raw example, with its label where the truth is known."""

    raw: Array
    label: Any = None
    """A class index, an array of boxes [n, 5], or a class map; None when it is not known."""


def calibration_from_arrays(
    raw: Array, labels: Iterable[Any], class_names: Sequence[str], source: str, path: Path
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
    marks = list(labels)
    if raw.ndim < 1 or len(raw) == 0 or raw.dtype.hasobject:
        msg = f"A calibration set of dtype {raw.dtype} and shape {list(raw.shape)} holds no examples."
        raise BadInputError(msg, next_step="Give at least one raw example, better a hundred.")
    if len(marks) not in (0, len(raw)):
        msg = f"There are {len(marks)} labels for {len(raw)} calibration examples."
        raise BadInputError(msg)
    examples = (
        CalibrationExample(raw=example, label=marks[index] if marks else None) for index, example in enumerate(raw)
    )
    return write_calibration(examples, class_names, source, path)


def write_calibration(
    examples: Iterable[CalibrationExample], class_names: Sequence[str], source: str, path: Path
) -> CalibrationManifest:
    """Write a calibration set one example at a time, so that memory does not grow with the set, and describe it.

    Args:
        examples: all of one shape and dtype; all with a label, or none.
        class_names: names of the classes.
        source: where the examples come from, for the reader of a receipt.
        path: the file to write, ending in `.npz`.

    Raises:
        BadInputError: there are no examples, they differ in kind, or a label is no class.
        StorageError: the file could not be written.
    """
    seen: Counter[int] = Counter()
    marks: list[int] = []

    def raws() -> Iterator[Array]:
        for example in examples:
            if example.label is not None:
                seen.update(_classes(example.label, class_names))
                if np.ndim(example.label) == 0:
                    marks.append(int(example.label))
            yield example.raw

    try:
        samples = write_set(raws(), marks, class_names, path)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        msg = f"The calibration set could not be written to {path}: {error.strerror}."
        raise StorageError(msg, next_step="Free some space, or choose another registry.") from error
    per_class = _per_class(seen, class_names)
    warnings = [f"No example of class {name!r}." for name, count in per_class.items() if count == 0]
    if samples < FEW:
        warnings.insert(0, f"Only {samples} examples; ranges from fewer than {FEW} are a guess.")
    return CalibrationManifest(
        sha256=digest, samples=samples, source=source, per_class=per_class, warnings=tuple(warnings)
    )


def describe_stability(manifest: CalibrationManifest, raw: Array, spec: ModelSpec) -> CalibrationManifest:
    """Return the manifest with the difference of two halves, and a warning where they differ much."""
    if len(raw) < 2:
        return manifest
    stability = range_stability(raw, spec)
    warnings = manifest.warnings
    if stability > UNSTABLE:
        warnings = (
            *warnings,
            f"The input's ranges differ by {stability:.0%} between two halves of the set; more examples would help.",
        )
    return replace(manifest, stability=stability, warnings=warnings)


def range_stability(raw: Array, spec: ModelSpec) -> float:
    """Return how far apart the input's ranges are in the even and the odd examples, as a share of the whole range.

    The range is from the 0.1 to the 99.9 percentile of each prepared example, its median over the examples: one
    outlier is not what two halves differ in.
    """
    low, high = [], []
    for start in range(0, len(raw), _STEP):
        (prepared,) = prepare(np.asarray(raw[start : start + _STEP]), spec).values()
        flat = prepared.reshape(len(prepared), -1).astype(np.float64)
        edges = np.percentile(flat, [0.1, 99.9], axis=1)
        low.extend(edges[0])
        high.extend(edges[1])
    whole = max(float(np.median(high) - np.median(low)), 1e-12)
    gaps = [abs(float(np.median(edge[::2]) - np.median(edge[1::2]))) for edge in (low, high)]
    return max(gaps) / whole


def check_disjoint(calibration: Array, evaluation: Array) -> None:
    """Refuse a calibration set that shares an example with the evaluation set, compared by content.

    Raises:
        BadInputError: they overlap; accuracy would be measured on what set the ranges.
    """
    seen = {_content(example) for example in calibration}
    demand_disjoint(sum(_content(example) in seen for example in evaluation), len(evaluation))


def demand_disjoint(shared: int, total: int) -> None:
    """Refuse an overlap of `shared` among `total` evaluation examples.

    Raises:
        BadInputError: they overlap.
    """
    if shared:
        msg = f"{shared} of {total} evaluation examples are in the calibration set too."
        raise BadInputError(msg, next_step="Calibrate with other examples, such as those of the training set.")


def contents(raw: Array, spec: ModelSpec) -> Iterator[str]:
    """Yield a digest of each example as the network sees it: one picture in two sizes is one example."""
    for start in range(0, len(raw), _STEP):
        (prepared,) = prepare(np.asarray(raw[start : start + _STEP]), spec).values()
        yield from (_content(example) for example in prepared)


def _content(example: Array) -> str:
    array = np.asarray(example)
    return sha256_hex(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes())


def _classes(label: Any, class_names: Sequence[str]) -> set[int]:
    """Return the classes that one label names: an index, boxes of (class, x1, y1, x2, y2), or a map of classes."""
    array: NDArray[Any] = np.asarray(label)
    boxes = array.ndim == 2 and array.shape[1] == 5 and array.dtype.kind == "f"
    found = np.unique(array[:, 0] if boxes else array)
    classes = {int(value) for value in found}
    if boxes:
        classes.discard(-1)
    elif array.ndim == 2:
        classes.discard(_IGNORED)
    strange = sorted(value for value in classes if class_names and not 0 <= value < len(class_names))
    if strange:
        msg = f"A calibration label is class {strange[0]}, and there are {len(class_names)} classes, counted from 0."
        raise BadInputError(msg, next_step="Label with the model's own classes.")
    return classes


def _per_class(seen: Mapping[int, int], class_names: Sequence[str]) -> dict[str, int]:
    if not class_names:
        return {str(index): count for index, count in sorted(seen.items())}
    return {name: seen.get(index, 0) for index, name in enumerate(class_names)} if seen else {}
