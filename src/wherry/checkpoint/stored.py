"""The architecture that a checkpoint says of itself: a name of the table in `networks.py`, and the number of classes.

Only plain facts are looked at, and only a library of the table is ever built from them.
"""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from wherry.checkpoint.fitting import fits
from wherry.checkpoint.networks import LIBRARIES, NetworkName, is_network_name
from wherry.core.errors import CheckpointError, WherryError

if TYPE_CHECKING:
    import torch
    from torch import nn

NAME_KEYS = ("architecture", "arch", "model_name", "network", "backbone", "model")
CLASS_KEYS = ("num_classes", "n_classes", "nb_classes", "classes", "nc")
ARGUMENT_KEYS = ("model_args", "model_kwargs", "hyper_parameters", "hparams", "config")
"""Spellings that training loops use, in the order in which they are looked for."""
LIBRARY_KEYS = ("library", "library_name", "framework")
_PLAIN_NAMES = ("timm", "torchvision")  # a name without its library is looked for here


def stored_networks(metadata: Mapping[str, Any]) -> list[NetworkName]:
    """Return what the metadata may mean, best reading first; empty when it names no architecture."""
    facts = _merged(metadata)
    text = next((facts[key] for key in NAME_KEYS if isinstance(facts.get(key), str) and facts[key]), None)
    if text is None:
        return []
    arguments = _arguments(metadata)
    return [
        _with_arguments(NetworkName.parse(name), arguments).with_classes(_classes(facts))
        for name in _full_names(text, facts)
    ]


def stored_network(
    metadata: Mapping[str, Any], tensors: Mapping[str, "torch.Tensor"], path: object
) -> "tuple[nn.Module, NetworkName]":
    """Build the network that the checkpoint names; where two libraries know the name, the one whose weights fit.

    Raises:
        CheckpointError: it names none, or none that can be built, or the weights fit none of them.
    """
    candidates = stored_networks(metadata)
    if not candidates:
        msg = f"{path} holds weights, and does not say of which network."
        raise CheckpointError(msg, next_step=_NEXT)
    reasons: list[str] = []
    built: list[tuple[nn.Module, NetworkName]] = []
    for name in candidates:
        try:
            built.append((name.build(), name))
        except WherryError as error:
            reasons.append(error.message)
    if not built:
        msg = f"{path} names the network {candidates[0].name!r}, which cannot be built: {' '.join(reasons)}"
        raise CheckpointError(msg, next_step=_NEXT)
    return next((pair for pair in built if fits(pair[0], tensors)), built[0])


def _full_names(text: str, facts: Mapping[str, Any]) -> Iterator[str]:
    if is_network_name(text):
        yield text
        return
    if ":" in text:
        msg = f"The checkpoint names the network {text[:100]!r}, and a name inside a file is never imported."
        raise CheckpointError(msg, next_step=f"Name it with --network. Libraries of the table: {', '.join(LIBRARIES)}.")
    library = next((facts[key] for key in LIBRARY_KEYS if facts.get(key) in LIBRARIES), None)
    for prefix in (library,) if library else _PLAIN_NAMES:
        yield f"{prefix}:{text}"


def _merged(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts with those of nested argument maps below them; texts that are JSON numbers become numbers."""
    nested: dict[str, Any] = {}
    for key in ARGUMENT_KEYS:
        nested |= _mapping(metadata.get(key))
    return {key: _number(value) for key, value in {**nested, **metadata}.items()}


def _arguments(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the first map that holds only arguments."""
    found = next((_mapping(metadata[key]) for key in ("model_args", "model_kwargs") if key in metadata), {})
    return {key: value for key, value in found.items() if key not in NAME_KEYS and key != "pretrained"}


def _with_arguments(name: NetworkName, arguments: Mapping[str, Any]) -> NetworkName:
    known = LIBRARIES[name.library].classes
    renamed = {(known if key in CLASS_KEYS else key): value for key, value in arguments.items()}
    return NetworkName(library=name.library, name=name.name, arguments={**renamed, **name.arguments})


def _classes(facts: Mapping[str, Any]) -> int | None:
    for key in CLASS_KEYS:
        value = facts.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    names = facts.get("class_names", facts.get("classes"))
    return len(names) if isinstance(names, list | dict) and names else None


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return dict(value) if isinstance(value, Mapping) else {}


def _number(value: Any) -> Any:
    """Return a safetensors text such as `10` or `["a", "b"]` as what it is."""
    if isinstance(value, str) and value[:1] in "0123456789[{":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


_NEXT = "Name the network: --network package.module:function, or --network timm:NAME --classes N."
