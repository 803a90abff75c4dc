"""How good a classifier is on examples that it has not seen."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec
from wherry.train.examples import Examples

Predictor = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""Raw images in, one row of scores for each out: logits where the spec says softmax, otherwise probabilities."""
BATCH = 256
_SMALLEST = 1e-12


def evaluate(predict: Predictor, examples: Examples, spec: ModelSpec) -> dict[str, float]:
    """Return `accuracy` (0 to 1), `loss` (mean cross-entropy in nats) and `examples` (how many there were).

    Args:
        predict: the network with its preprocessing; called with at most 256 images at a time.
        examples: labelled raw images.
        spec: its postprocessing says what the scores are, its class names what the columns mean.

    Raises:
        BadInputError: there are no examples, the class names differ, or the scores do not fit.
    """
    if len(examples) == 0:
        msg = "There are no examples to evaluate on."
        raise BadInputError(msg)
    if examples.class_names != spec.class_names:
        msg = "The class names of the examples are not those of the spec."
        raise BadInputError(msg, next_step="Use the class names, in the order, that the network was trained with.")
    parts = [predict(examples.images[start : start + BATCH]) for start in range(0, len(examples), BATCH)]
    scores = np.concatenate(parts).astype(np.float64)
    if scores.shape != (len(examples), len(spec.class_names)) or not np.isfinite(scores).all():
        msg = f"The scores have shape {list(scores.shape)} or are not finite, for {len(examples)} examples."
        raise BadInputError(msg)
    logarithms = _log_softmax(scores) if spec.postprocessing == "softmax" else np.log(np.maximum(scores, _SMALLEST))
    own = logarithms[np.arange(len(examples)), examples.labels]
    return {
        "accuracy": float((scores.argmax(axis=1) == examples.labels).mean()),
        "loss": float(-own.mean()),
        "examples": float(len(examples)),
    }


def _log_softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = scores - scores.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
