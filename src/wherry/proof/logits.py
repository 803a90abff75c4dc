"""Logits as distributions: what classification and policies share."""

import numpy as np
from numpy.typing import NDArray


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log-probabilities over axis 1; the largest logit is subtracted first, so nothing overflows."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def kl_nats(want: NDArray[np.float64], got: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return KL(want || got) of each row in nats."""
    log_p, log_q = log_softmax(want), log_softmax(got)
    divergence: NDArray[np.float64] = np.sum(np.exp(log_p) * (log_p - log_q), axis=1)
    return divergence
