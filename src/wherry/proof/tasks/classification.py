"""Classification: the answer is the class with the largest logit."""

import numpy as np
from numpy.typing import NDArray

from wherry.core.model import ModelSpec
from wherry.proof.interface import TaskMetric
from wherry.runtime.interface import Tensors

_TOP = 5


class Classification(TaskMetric):
    """Top-1 and top-5 agreement, Kullback-Leibler divergence, confidence drift; accuracy against labels."""

    name = "classification"
    quality_name = "accuracy"

    def check(self, spec: ModelSpec) -> str | None:
        """One output of [batch, classes], as many class names as classes."""
        shape = spec.outputs[0].shape
        classes = shape[-1] if len(shape) == 2 else None
        if not isinstance(classes, int):
            return f"a classifier's first output is [batch, classes], this one is {list(shape)}"
        if spec.class_names and len(spec.class_names) != classes:
            return f"there are {len(spec.class_names)} class names for {classes} classes"
        return None

    def agreement(self, outputs: Tensors, references: Tensors, spec: ModelSpec) -> dict[str, float]:
        """Return top-1 and top-5 agreement, mean KL(reference || output) in nats, and mean confidence drift."""
        name = spec.outputs[0].name
        got, want = outputs[name].astype(np.float64), references[name].astype(np.float64)
        top1 = got.argmax(axis=1) == want.argmax(axis=1)
        log_p, log_q = _log_softmax(want), _log_softmax(got)
        p = np.exp(log_p)
        best = want.argmax(axis=1)[:, None]
        drift = np.take_along_axis(np.exp(log_q), best, axis=1) - np.take_along_axis(p, best, axis=1)
        return {
            "agreement": float(top1.mean()),
            "top1_agreement": float(top1.mean()),
            "top5_agreement": _top_agreement(got, want),
            "kl_nats": float(np.sum(p * (log_p - log_q), axis=1).mean()),
            "confidence_drift": float(drift.mean()),
        }

    def quality(self, outputs: Tensors, labels: NDArray[np.int64], spec: ModelSpec) -> float | None:
        """Return the share of samples whose largest logit is at the label."""
        return float((outputs[spec.outputs[0].name].argmax(axis=1) == labels).mean())

    def vacuous(self, references: Tensors, spec: ModelSpec) -> str | None:
        """A reference that answers one class to everything proves nothing about the others."""
        answers = np.unique(references[spec.outputs[0].name].argmax(axis=1))
        if len(answers) < 2:
            return "the reference answers the same class to every golden input"
        return None


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _top_agreement(got: NDArray[np.float64], want: NDArray[np.float64]) -> float:
    k = min(_TOP, want.shape[1])
    left = np.argsort(-got, axis=1)[:, :k]
    right = np.argsort(-want, axis=1)[:, :k]
    shared = [len(np.intersect1d(a, b)) for a, b in zip(left, right, strict=True)]
    return float(np.mean(shared) / k)
