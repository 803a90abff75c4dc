"""Classification: the answer is the class with the largest logit."""

import numpy as np
from numpy.typing import NDArray

from wherry.core.model import ModelSpec
from wherry.proof.interface import TaskMetric
from wherry.proof.logits import kl_nats, log_softmax
from wherry.proof.tally import Means, class_labels
from wherry.runtime.interface import Array, Tensors

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

    def check_labels(self, labels: Array, spec: ModelSpec) -> str | None:
        """One class index for each sample."""
        classes = spec.outputs[0].shape[-1]
        return class_labels(labels, classes if isinstance(classes, int) else None)

    def comparing(self, spec: ModelSpec) -> Means[Tensors]:
        """Return top-1 and top-5 agreement, mean KL(reference || output) in nats, and mean confidence drift."""
        name = spec.outputs[0].name
        return Means(lambda outputs, references: _compare(outputs[name], references[name]))

    def scoring(self, spec: ModelSpec) -> Means[Array]:
        """Return the share of samples whose largest logit is at the label."""
        name = spec.outputs[0].name
        return Means(lambda outputs, labels: {"accuracy": outputs[name].argmax(axis=1) == labels})

    def vacuous(self, references: Tensors, spec: ModelSpec) -> str | None:
        """A reference that answers one class to everything proves nothing about the others."""
        answers = np.unique(references[spec.outputs[0].name].argmax(axis=1))
        if len(answers) < 2:
            return "the reference answers the same class to every golden input"
        return None


def _compare(output: Array, reference: Array) -> dict[str, Array]:
    got, want = output.astype(np.float64), reference.astype(np.float64)
    best = want.argmax(axis=1)
    top1 = got.argmax(axis=1) == best
    sure, was = (np.exp(log_softmax(logits))[np.arange(len(best)), best] for logits in (got, want))
    return {
        "agreement": top1,
        "top1_agreement": top1,
        "top5_agreement": _top_agreement(got, want),
        "kl_nats": kl_nats(want, got),
        "confidence_drift": sure - was,
    }


def _top_agreement(got: NDArray[np.float64], want: NDArray[np.float64]) -> NDArray[np.float64]:
    k = min(_TOP, want.shape[1])
    left = np.argsort(-got, axis=1)[:, :k]
    right = np.argsort(-want, axis=1)[:, :k]
    return np.array([len(np.intersect1d(a, b)) / k for a, b in zip(left, right, strict=True)])
