"""Puts weights into a network, strictly, and says what does not fit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherry.core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn


def load_weights(net: "nn.Module", weights: Mapping[str, Any]) -> None:
    """Load a state dict that fits exactly.

    Raises:
        CheckpointError: a key or a shape differs.
    """
    try:
        net.load_state_dict(dict(weights), strict=True)
    except (RuntimeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        msg = f"The weights to start from do not fit {type(net).__name__}: {' '.join(lines[1:3] or lines)[:300]}"
        raise CheckpointError(msg, next_step="Start from a checkpoint of the same network.") from error
