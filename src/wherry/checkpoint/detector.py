"""Splits the joined answer of a detector into the outputs that the task `detection` is made of.

YOLO heads give one tensor [batch, 4 + classes + coefficients, anchors]. Boxes go up to the image's size and scores to
1, and no int8 scale serves both, so they become outputs of their own.
"""

from typing import TYPE_CHECKING, Any

from wherry.checkpoint.examples import example_inputs
from wherry.core.model import ModelSpec

if TYPE_CHECKING:
    from torch import nn

_BATCH = 2


def joined_classes(network: "nn.Module", spec: ModelSpec, classes: int | None) -> int | None:
    """Return how many classes a detector's joined answer holds, or None when its answer is not joined.

    Args:
        network: in evaluation mode.
        spec: with the inputs; its class names count when `classes` is not given.
        classes: what was said of the network; without it a network without masks says it by its width.
    """
    import torch

    if spec.task != "detection":
        return None
    try:
        with torch.no_grad():
            value = network(*example_inputs(spec, batch=_BATCH, axes={}, seed=0).values())
    except Exception:  # told by the next step, which runs the network again
        return None
    parts = [value] if isinstance(value, torch.Tensor) else list(value) if isinstance(value, list | tuple) else []
    shapes = [tuple(part.shape) for part in parts if isinstance(part, torch.Tensor)]
    if len(shapes) != len(parts) or [len(shape) for shape in shapes] not in ([3], [3, 4]):
        return None
    masks = shapes[1][1] if len(shapes) == 2 else 0
    width = shapes[0][1] - 4 - masks
    said = classes or len(spec.class_names) or width
    return width if width > 0 and said == width else None


def split_detector(network: "nn.Module", classes: int) -> "nn.Module":
    """Return the network with the outputs `boxes` and `scores`, and with masks `coefficients` and `prototypes`."""
    from torch import nn

    class SplitDetector(nn.Module):
        """Gives boxes [batch, 4, anchors] and scores [batch, classes, anchors], and with masks two more."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            found = self.network(*inputs)
            joined, rest = (found, ()) if not isinstance(found, list | tuple) else (found[0], tuple(found[1:]))
            parts = joined.tensor_split((4, 4 + classes), dim=1)
            return (*parts, *rest) if rest else tuple(parts[:2])

    return SplitDetector()
