"""Outputs to what a caller wants to know: a class, boxes, a mask, an embedding, a policy and a value.

`answers` gives one result for each row of a batch, by the task that the model spec names. Boxes and masks are carried
back to the raw picture where its `Placement` is known. All coordinates are pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec
from wherry.runtime.detect import Detection, detect, on_raw
from wherry.runtime.fitting import Placement
from wherry.runtime.interface import Array, Tensors
from wherry.runtime.postprocess import Guess, softmax, top_k
from wherry.runtime.segment import segment


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classification:
    """The class of one example."""

    class_name: str
    """The best class, or its index as text where the model has no class names."""
    class_index: int
    confidence: float
    """Probability of the best class; the raw score where the spec names no postprocessing."""
    probabilities: NDArray[np.floating]
    """Of every class, in the order of the class names."""
    top: tuple[Guess, ...]
    """The five best, best first; all of them where there are fewer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """The objects in one picture, best first."""

    found: tuple[Detection, ...]
    size: tuple[int, int] | None
    """Height and width of the picture that the boxes are in; None where only the network's input is known."""

    def __len__(self) -> int:
        return len(self.found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """The class of each pixel of one picture."""

    classes: NDArray[np.uint16]
    """(height, width), of the raw picture where its size is known, else of the network's input."""
    shares: dict[str, float]
    """Share of the pixels of each class that occurs, largest first; classes without a name by their index."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """One example as a vector."""

    vector: NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PolicyValue:
    """What a policy and value network says about one position."""

    move: int
    """The best move's index. The rules of the game are not known here: an illegal one is not masked."""
    probability: float
    probabilities: NDArray[np.floating]
    """Of every move."""
    top: tuple[Guess, ...]
    """The five best moves, best first."""
    value: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """The outputs of one example as they are, for a task that says no more about them."""

    tensors: Tensors


Result = Classification | Detections | Segmentation | Embedding | PolicyValue | Outputs


def answers(outputs: Tensors, spec: ModelSpec, placements: Sequence[Placement] | None = None) -> list[Result]:
    """Return what each row of a batch says, by the spec's task.

    Args:
        outputs: of the network; the first axis is the batch.
        spec: task, postprocessing and class names.
        placements: where each raw picture lies in the network's input, for boxes and masks of the raw picture.

    Raises:
        BadInputError: the outputs do not have the shapes of the task, or are not finite.
        SpecMismatchError: the class names do not fit the outputs.
    """
    match spec.task:
        case "classification":
            return [*_classify(outputs, spec)]
        case "detection":
            return [*_detections(outputs, spec, placements)]
        case "segmentation":
            return [*_segmentations(outputs, spec, placements)]
        case "embedding":
            return [Embedding(vector=_float(row)) for row in outputs[spec.outputs[0].name]]
        case "policy_value":
            return [*_policies(outputs, spec)]
        case _:
            rows = len(next(iter(outputs.values())))
            return [Outputs(tensors={name: array[row] for name, array in outputs.items()}) for row in range(rows)]


def probabilities(outputs: Tensors, spec: ModelSpec) -> NDArray[np.floating]:
    """Return the scores of every class, (N, classes), from the first output after the spec's postprocessing."""
    scores = outputs[spec.outputs[0].name]
    if spec.postprocessing == "softmax":
        return softmax(scores)
    if spec.postprocessing == "sigmoid":
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * scores.astype(np.float64)))  # the sigmoid, without overflow
    return _float(scores)


def _classify(outputs: Tensors, spec: ModelSpec) -> list[Classification]:
    scores = probabilities(outputs, spec)
    return [
        Classification(
            class_name=best[0].name,
            class_index=best[0].index,
            confidence=best[0].probability,
            probabilities=row,
            top=best,
        )
        for row, best in zip(scores, top_k(scores, spec.class_names), strict=True)
    ]


def _detections(outputs: Tensors, spec: ModelSpec, placements: Sequence[Placement] | None) -> list[Detections]:
    found = detect(outputs, spec)
    if placements is None:
        return [Detections(found=one, size=None) for one in found]
    return [Detections(found=on_raw(one, spot), size=spot.raw) for one, spot in zip(found, placements, strict=True)]


def _segmentations(outputs: Tensors, spec: ModelSpec, placements: Sequence[Placement] | None) -> list[Segmentation]:
    found = []
    for row, classes in enumerate(segment(outputs, spec)):
        whole = classes if placements is None else placements[row].map_to_raw(classes).astype(np.uint16)
        found.append(Segmentation(classes=whole, shares=_shares(whole, spec.class_names)))
    return found


def _shares(classes: NDArray[np.uint16], names: Sequence[str]) -> dict[str, float]:
    indices, counts = np.unique(classes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {
        (names[index] if index < len(names) else str(index)): float(count / classes.size)
        for index, count in zip(indices[order].tolist(), counts[order].tolist(), strict=True)
    }


def _policies(outputs: Tensors, spec: ModelSpec) -> list[PolicyValue]:
    if len(spec.outputs) < 2:
        msg = "A policy and value network gives two outputs, and the spec names one."
        raise BadInputError(msg)
    policy = softmax(outputs[spec.outputs[0].name])
    values = outputs[spec.outputs[1].name].reshape(len(policy), -1)
    return [
        PolicyValue(
            move=best[0].index, probability=best[0].probability, probabilities=row, top=best, value=float(value[0])
        )
        for row, best, value in zip(policy, top_k(policy), values, strict=True)
    ]


def _float(array: Array) -> NDArray[np.floating]:
    return np.asarray(array, dtype=array.dtype if array.dtype.kind == "f" else np.float32)
