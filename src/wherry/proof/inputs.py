"""The first rung: does preprocessing here make of the golden inputs what it made when they were recorded?

Channel order, resize kernel and normalisation are what differs most often between a training script and a device, and a
network answers to such inputs as if nothing were wrong. So the difference is measured before any engine runs, and the
setting that explains it is looked for.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from wherry.core.errors import WherryError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.core.report import Rung
from wherry.proof.compare import output_error
from wherry.proof.golden import GoldenSet
from wherry.runtime.interface import Array
from wherry.runtime.preprocess import prepare

LARGEST = 0.005
"""Difference, as a share of the inputs' own spread, up to which two preprocessings are one: one level of 255 in a tenth
of the pixels, where versions of an image library round differently. Another resize kernel is above one per cent."""


def preprocessing_rung(golden: GoldenSet, spec: ModelSpec) -> Rung | None:
    """Return how the inputs that are prepared here compare with the recorded ones; None where none were recorded."""
    if not golden.prepared:
        return None
    ((name, recorded),) = golden.prepared.items()
    subject = f"the first {len(recorded)} golden inputs"
    here = _prepared(golden, spec)
    if isinstance(here, str) or here.shape != recorded.shape:
        shape = here if isinstance(here, str) else f"shape {list(here.shape)} instead of {list(recorded.shape)}"
        reason = _cause(golden, spec, recorded) or shape
        return Rung(name="preprocessing", subject=subject, passed=False, reason=reason)
    error = output_error(name, here, recorded)
    off = _difference(here, recorded)
    passed = off <= LARGEST
    reason = "" if passed else _cause(golden, spec, recorded) or f"the inputs differ by {off:.1%} of their spread"
    return Rung(
        name="preprocessing",
        subject=subject,
        passed=passed,
        cosine=error.cosine,
        max_abs=error.max_abs,
        reason=reason,
    )


def _prepared(golden: GoldenSet, spec: ModelSpec) -> Array | str:
    """Return the input that is prepared under this spec, or why there is none."""
    ((name, recorded),) = golden.prepared.items()
    try:
        made = prepare(golden.raw[: len(recorded)], spec)
    except WherryError as error:
        return error.message
    return (
        made[name] if name in made else f"the golden set has prepared inputs for {name!r}, the spec names {list(made)}"
    )


def _difference(here: Array, recorded: Array) -> float:
    """Return the distance of two inputs, relative to the spread of the recorded one; 0 for equal ones."""
    want = recorded.astype(np.float64)
    distance = float(np.linalg.norm((here.astype(np.float64) - want).ravel()))
    spread = float(np.linalg.norm((want - want.mean()).ravel()))
    return distance / spread if spread else float(distance > 0)


def _cause(golden: GoldenSet, spec: ModelSpec, recorded: Array) -> str | None:
    """Return the one setting with which the recorded inputs would have come out here, or None."""
    for words, how in _others(spec.preprocessing, recorded):
        made = _prepared(golden, replace(spec, preprocessing=how, inputs=_any_shape(spec, recorded)))
        if not isinstance(made, str) and made.shape == recorded.shape and _difference(made, recorded) <= LARGEST:
            return words
    here = _prepared(golden, spec)
    same = not isinstance(here, str) and here.shape == recorded.shape
    return _normalisation(here, recorded, spec.preprocessing) if same and not isinstance(here, str) else None


def _any_shape(spec: ModelSpec, recorded: Array) -> tuple[TensorSpec, ...]:
    return (replace(spec.inputs[0], shape=("batch", *recorded.shape[1:])),)


def _others(how: Preprocessing, recorded: Array) -> Iterator[tuple[str, Preprocessing]]:
    """Yield each setting that could have been another one, with the words for it."""
    for field, values in _CHOICES.items():
        mine = getattr(how, field)
        for value in values:
            if value != mine:
                other: dict[str, Any] = {field: value}
                yield f"{field} is {mine!r} here and was {value!r} in the golden set", replace(how, **other)
    size = recorded.shape[2:4] if how.layout == "NCHW" else recorded.shape[1:3]
    if how.kind == "image" and how.size is not None and len(size) == 2 and tuple(size) != tuple(how.size):
        yield f"size is {list(how.size)} here and was {list(size)} in the golden set", replace(how, size=size)


def _normalisation(here: Array, recorded: Array, how: Preprocessing) -> str | None:
    """Return that each channel is the recorded one times a number plus a number, where it is so."""
    axis = 1 if how.layout == "NCHW" and here.ndim > 2 else here.ndim - 1
    mine = np.moveaxis(here.astype(np.float64), axis, 0).reshape(here.shape[axis], -1)
    want = np.moveaxis(recorded.astype(np.float64), axis, 0).reshape(len(mine), -1)
    means, spreads = mine.mean(axis=1, keepdims=True), mine.var(axis=1, keepdims=True)
    if not spreads.all():
        return None
    covariance = ((mine - means) * (want - want.mean(axis=1, keepdims=True))).mean(axis=1, keepdims=True)
    factors = covariance / spreads
    shifts = want.mean(axis=1, keepdims=True) - factors * means
    if not _difference(mine * factors + shifts, want) <= LARGEST:
        return None
    words = f"(x * {how.scale:.4g} - {_text(how.mean)}) / {_text(how.std)}"
    times, plus = (_text(tuple(numbers.ravel().tolist())) for numbers in (factors, shifts))
    return f"normalisation is {words} here; the recorded inputs are these times {times} plus {plus}"


def _text(values: tuple[float, ...]) -> str:
    few = [f"{value:.4g}" for value in values[:4]] + ["..."] * (len(values) > 4)
    return few[0] if len(values) == 1 else f"[{', '.join(few)}]"


_CHOICES: dict[str, tuple[str, ...]] = {
    "channel_order": ("RGB", "BGR"),
    "resample": ("nearest", "bilinear", "bicubic"),
    "fit": ("stretch", "letterbox", "crop"),
    "layout": ("NCHW", "NHWC"),
    "color": ("RGB", "L"),
}
