"""Policy and value, as in AlphaZero: the answer is the move with the largest logit, and how good the position is."""

import numpy as np

from wherry.core.model import ModelSpec
from wherry.proof.interface import TaskMetric
from wherry.proof.logits import kl_nats, log_softmax
from wherry.proof.tally import Means, class_labels
from wherry.runtime.interface import Array, Tensors


class PolicyValue(TaskMetric):
    """Top-move agreement, policy KL, error of the value; share of best moves against labels."""

    name = "policy_value"
    quality_name = "move_accuracy"

    def check(self, spec: ModelSpec) -> str | None:
        """Two outputs: [batch, moves] and [batch, 1]."""
        shapes = [tensor.shape for tensor in spec.outputs[:2]]
        if len(shapes) < 2 or len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[1][1] != 1:
            return f"policy and value are [batch, moves] and [batch, 1], these are {[list(shape) for shape in shapes]}"
        return None

    def check_labels(self, labels: Array, spec: ModelSpec) -> str | None:
        """The index of the best move for each sample."""
        moves = spec.outputs[0].shape[1]
        return class_labels(labels, moves if isinstance(moves, int) else None)

    def comparing(self, spec: ModelSpec) -> Means[Tensors]:
        """Return top-move agreement, mean KL(reference || output) in nats, value error, and the share that is usable.

        `finite` is the share of samples whose probabilities and value are numbers after the softmax, as a search that
        masks illegal moves needs them.
        """
        policy, value = (tensor.name for tensor in spec.outputs[:2])
        return Means(lambda outputs, references: _compare(outputs, references, policy, value))

    def scoring(self, spec: ModelSpec) -> Means[Array]:
        """Return the share of samples whose largest logit is at the best move."""
        name = spec.outputs[0].name
        return Means(lambda outputs, labels: {"move_accuracy": outputs[name].argmax(axis=1) == labels})

    def vacuous(self, references: Tensors, spec: ModelSpec) -> str | None:
        """A reference that plays one move everywhere proves nothing about the others."""
        if len(np.unique(references[spec.outputs[0].name].argmax(axis=1))) < 2:
            return "the reference plays the same move in every golden position"
        return None


def _compare(outputs: Tensors, references: Tensors, policy: str, value: str) -> dict[str, Array]:
    got, want = outputs[policy].astype(np.float64), references[policy].astype(np.float64)
    off = np.abs(outputs[value].astype(np.float64) - references[value].astype(np.float64)).reshape(len(got))
    return {
        "agreement": got.argmax(axis=1) == want.argmax(axis=1),
        "policy_kl_nats": kl_nats(want, got),
        "value_mae": off,
        "finite": np.isfinite(np.exp(log_softmax(got))).all(axis=1) & np.isfinite(off),
    }
