"""Output tensors to answers: softmax and the best classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import BadInputError, SpecMismatchError
from wherry.core.model import ModelSpec
from wherry.runtime.interface import Array, Tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """One class with its probability."""

    index: int
    name: str
    """The class name, or the index as text where the model has no class names."""
    probability: float


def softmax(logits: Array) -> NDArray[np.floating]:
    """Return probabilities over the last axis, in the dtype of floating-point logits and float32 for others.

    The largest logit is subtracted first, so that large logits do not overflow; half precision is summed in single.

    Raises:
        BadInputError: there are no classes, or a logit is not a finite number.
    """
    _check_scores(logits, "Logits")
    kind = logits.dtype if logits.dtype.kind == "f" else np.dtype(np.float32)
    work = logits.astype(np.result_type(kind, np.float32))
    powers = np.exp(work - work.max(axis=-1, keepdims=True))
    result: NDArray[np.floating] = (powers / powers.sum(axis=-1, keepdims=True)).astype(kind, copy=False)
    return result


def top_k(probabilities: Array, class_names: Sequence[str] = (), k: int = 5) -> list[tuple[Guess, ...]]:
    """Return the `k` most probable classes of each row, best first; equal ones in the order of their indices.

    Args:
        probabilities: shape (N, classes).
        class_names: one name for each class, or none at all.
        k: how many; all classes when there are fewer.

    Raises:
        BadInputError: the shape does not fit, a number is not finite, or `k` is below 1.
        SpecMismatchError: there are more or fewer names than classes.
    """
    if probabilities.ndim != 2 or k < 1:
        msg = (
            f"The best {k} of an array of shape {list(probabilities.shape)} cannot be named; (N, classes) is expected."
        )
        raise BadInputError(msg)
    _check_scores(probabilities, "Probabilities")
    classes = probabilities.shape[1]
    names = list(class_names) or [str(index) for index in range(classes)]
    if len(names) != classes:
        msg = f"There are {len(names)} class names for {classes} classes."
        raise SpecMismatchError(msg)
    order = np.argsort(-probabilities.astype(np.float64), axis=1, kind="stable")[:, :k]
    rows = zip(probabilities.astype(np.float64), order, strict=True)
    return [tuple(Guess(index=int(i), name=names[i], probability=float(row[i])) for i in best) for row, best in rows]


def classify(outputs: Tensors, spec: ModelSpec, k: int = 5) -> list[tuple[Guess, ...]]:
    """Return the best classes of each row from a classifier's first output, after the spec's postprocessing.

    Raises:
        BadInputError: the output is not (N, classes), or is not finite.
        SpecMismatchError: the spec's class names do not fit the output.
    """
    scores = outputs[spec.outputs[0].name]
    return top_k(softmax(scores) if spec.postprocessing == "softmax" else scores, spec.class_names, k)


def _check_scores(scores: Array, what: str) -> None:
    if scores.dtype.kind not in "iuf" or scores.ndim < 1 or scores.shape[-1] == 0:
        msg = f"{what} of dtype {scores.dtype} and shape {list(scores.shape)} hold no classes."
        raise BadInputError(msg)
    if not np.isfinite(scores).all():
        msg = f"{what} hold a number that is not finite."
        raise BadInputError(msg, next_step="Look for NaN or infinity in the inputs or the weights.")
