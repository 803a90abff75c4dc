"""Weights saved by `torch.save`: a plain state_dict, or a dict that holds one beside its own configuration."""

from collections.abc import Mapping
from typing import Any, BinaryIO, ClassVar

from wherry.checkpoint.interface import Content, Loader
from wherry.checkpoint.plain import plain_facts
from wherry.core.errors import CheckpointError

WEIGHT_KEYS = ("state_dict", "model_state_dict", "model", "weights", "net", "network", "params")
"""Where training loops keep the weights, in the order in which they are looked for."""


class StateDictLoader(Loader):
    """Reads with `torch.load(weights_only=True)`."""

    name: ClassVar[str] = "state_dict"

    def _read(self, file: BinaryIO) -> Content:
        import torch

        value = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(value, Mapping):
            msg = f"The checkpoint holds a {type(value).__name__}, not weights by name."
            raise CheckpointError(msg, next_step="Save the network's state_dict() into the checkpoint.")
        key = _weights_key(value)
        weights = _tensors(value if key is None else value[key])
        rest = {name: item for name, item in value.items() if name != key and not isinstance(item, torch.Tensor)}
        return Content(tensors=weights, metadata=plain_facts(rest))


def _weights_key(value: Mapping[Any, Any]) -> str | None:
    """Return under which key the weights lie, or None when `value` itself is the state_dict."""
    for key in WEIGHT_KEYS:
        if isinstance(value.get(key), Mapping) and _tensors(value[key]):
            return key
    return None


def _tensors(value: Mapping[Any, Any]) -> dict[str, Any]:
    import torch

    return {str(name): item for name, item in value.items() if isinstance(item, torch.Tensor)}
