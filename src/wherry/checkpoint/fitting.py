"""Puts a checkpoint's tensors into a network: all of them, under the network's own names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.core.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from torch import nn

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Which of a checkpoint's tensors belong to a network, under the network's own names."""

    tensors: Mapping[str, "torch.Tensor"]
    notes: tuple[str, ...] = ()
    """One sentence for whatever was taken otherwise than it stood in the file."""


def load_tensors(module: "nn.Module", given: Mapping[str, "torch.Tensor"], path: Path) -> tuple[str, ...]:
    """Copy `given` into `module`, which is unchanged when anything does not fit.

    Returns:
        One sentence for each thing that was taken otherwise than it stood in the file.

    Raises:
        CheckpointError: keys or shapes differ; the message names the first that do.
    """
    own = module.state_dict()
    found = fit(own, given)
    _check_keys(own, found.tensors, path)
    _check_shapes(own, found.tensors, path)
    module.load_state_dict(dict(found.tensors), strict=True)
    return found.notes


def fits(module: "nn.Module", given: Mapping[str, "torch.Tensor"]) -> bool:
    """Return whether every tensor of `module` is there with its shape, and nothing more."""
    own = module.state_dict()
    found = fit(own, given).tensors
    return own.keys() == found.keys() and all(own[name].shape == found[name].shape for name in own)


def fit(own: Mapping[str, "torch.Tensor"], given: Mapping[str, "torch.Tensor"]) -> Fit:
    """Return the tensors under the network's names, when one prefix such as `module.` is all that stands between.

    What lies outside that prefix, such as the weights of a loss, is left out and named in the notes. Tensors that fit
    neither way are returned as they are.
    """
    if own.keys() == given.keys() or not own:
        return Fit(tensors=given)
    prefix = _prefix(own, given)
    if prefix is None:
        return Fit(tensors=given)
    inside = {name.removeprefix(prefix): tensor for name, tensor in given.items() if name.startswith(prefix)}
    outside = [name for name in given if not name.startswith(prefix)]
    notes = [f"The prefix {prefix!r} was taken off the names of the weights."]
    if outside:
        notes.append(f"Left out, as the network has no place for it: {_some(outside)}.")
    return Fit(tensors=inside, notes=tuple(notes))


def _prefix(own: Mapping[str, "torch.Tensor"], given: Mapping[str, "torch.Tensor"]) -> str | None:
    """Return the prefix, ending in a dot, under which the checkpoint holds exactly the network's names."""
    first = next(iter(own))
    found = {name.removesuffix(first) for name in given if name.endswith(f".{first}")}
    fitting = [
        prefix
        for prefix in sorted(found, key=len)
        if {name.removeprefix(prefix) for name in given if name.startswith(prefix)} == set(own)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _check_keys(own: Mapping[str, "torch.Tensor"], given: Mapping[str, "torch.Tensor"], path: Path) -> None:
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    if not missing and not unexpected:
        return
    parts = [
        f"{len(names)} {what} ({_some(names)})"
        for names, what in ((missing, "missing"), (unexpected, "unexpected"))
        if names
    ]
    msg = f"{path} does not fit the network: {' and '.join(parts)}."
    raise CheckpointError(
        msg, next_step="Build the network with the architecture that the checkpoint was trained with."
    )


def _check_shapes(own: Mapping[str, "torch.Tensor"], given: Mapping[str, "torch.Tensor"], path: Path) -> None:
    different = [
        f"{name} is {list(given[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if given[name].shape != own[name].shape
    ]
    if different:
        more = f" ({len(different) - _SHOWN} more)" if len(different) > _SHOWN else ""
        msg = f"{path} does not fit the network: {'; '.join(different[:_SHOWN])}{more}."
        raise CheckpointError(
            msg, next_step="Build the network with the number of classes and sizes it was trained with."
        )


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
