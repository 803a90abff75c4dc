"""What `torch.save` wrote: a state_dict, a dict that holds one beside its configuration, or a whole network."""

from collections.abc import Mapping
from typing import Any, BinaryIO, ClassVar

from wherry.checkpoint.interface import Content, Loader
from wherry.checkpoint.modules import find_network, load_pickled
from wherry.checkpoint.plain import plain_facts
from wherry.core.errors import CheckpointError

WEIGHT_KEYS = ("state_dict", "model_state_dict", "model", "weights", "net", "network", "params")
"""Where training loops keep the weights, in the order in which they are looked for."""


class StateDictLoader(Loader):
    """Reads with `torch.load(weights_only=True)`, whole networks only on request."""

    name: ClassVar[str] = "state_dict"

    def _read(self, file: BinaryIO) -> Content:
        import torch

        value = load_pickled(file) if self.modules else torch.load(file, map_location="cpu", weights_only=True)
        found = find_network(value) if self.modules else None
        if found is not None:
            network, key = found
            return Content(
                tensors=dict(network.state_dict()),
                metadata=_facts(value, key) if isinstance(value, Mapping) else {},
                network=network,
                notes=(f"The network was taken from {key!r} of the checkpoint.",) if key else (),
            )
        if not isinstance(value, Mapping):
            msg = f"The checkpoint holds a {type(value).__name__}, not weights by name."
            raise CheckpointError(msg, next_step="Save the network's state_dict() into the checkpoint.")
        place = _weights_key(value)
        return Content(tensors=_tensors(value if place is None else value[place]), metadata=_facts(value, place))


def _facts(value: Mapping[Any, Any], key: str | None) -> dict[str, Any]:
    """Return the plain facts that lie beside the weights."""
    import torch

    return plain_facts(
        {name: item for name, item in value.items() if name != key and not isinstance(item, torch.Tensor)}
    )


def _weights_key(value: Mapping[Any, Any]) -> str | None:
    """Return under which key the weights lie, or None when `value` itself is the state_dict."""
    for key in WEIGHT_KEYS:
        if isinstance(value.get(key), Mapping) and _tensors(value[key]):
            return key
    return None


def _tensors(value: Mapping[Any, Any]) -> dict[str, Any]:
    import torch

    return {str(name): item for name, item in value.items() if isinstance(item, torch.Tensor)}
