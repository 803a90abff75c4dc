"""A calibration set on its way through the model's own preprocessing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wherry.core.model import ModelSpec
from wherry.export.calibration_file import open_calibration
from wherry.runtime.interface import Tensors
from wherry.runtime.preprocess import prepare

_STEP = 16  # examples at a time, so that memory does not grow with the set


def prepared_batches(path: Path | None, spec: ModelSpec, *, most: int | None = None) -> Iterator[Tensors]:
    """Yield a calibration set's examples prepared, a few at a time.

    Args:
        path: the set's file; None yields nothing.
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
    for start in range(0, len(raw), fixed or _STEP):
        piece = np.asarray(raw[start : start + (fixed or _STEP)])
        if fixed and len(piece) < fixed:
            piece = np.concatenate([piece, np.repeat(piece[-1:], fixed - len(piece), axis=0)])
        yield prepare(piece, spec)
