"""Runs a network by the names of its spec, and says exactly where the two contradict each other."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherry.checkpoint.examples import torch_dtype
from wherry.core.errors import SpecMismatchError
from wherry.core.model import ModelSpec, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


def check_names(module: "nn.Module", spec: ModelSpec) -> None:
    """Compare the input names of the spec with the parameters of `forward`: the same names in the same order.

    Raises:
        SpecMismatchError: they differ; parameters with a default may be left out at the end.
    """
    if is_graph(module):  # its parameters' names are torch's own, and their order is all that counts
        return
    parameters = inspect.signature(module.forward).parameters.values()
    if any(it.kind is it.VAR_POSITIONAL for it in parameters):
        return
    accepted = [it for it in parameters if it.kind is it.POSITIONAL_OR_KEYWORD]
    names = [tensor.name for tensor in spec.inputs]
    rest = accepted[len(names) :]
    if names != [it.name for it in accepted[: len(names)]] or any(it.default is it.empty for it in rest):
        msg = f"The spec names the inputs {names}, and the network's forward takes {[it.name for it in accepted]}."
        raise SpecMismatchError(
            msg, next_step="Give the inputs of the spec the names and order of forward's parameters."
        )


def by_parameter(module: "nn.Module", values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return one value for each input as torch.export wants them: those of `*inputs` in a tuple of their own."""
    if is_graph(module):
        return values
    parameters = inspect.signature(module.forward).parameters.values()
    named = sum(it.kind in (it.POSITIONAL_ONLY, it.POSITIONAL_OR_KEYWORD) for it in parameters)
    rest = values[named:]
    return (*values[:named], rest) if rest else values


def is_graph(module: "nn.Module") -> bool:
    """Return whether `module` is a graph that torch made, rather than somebody's class."""
    import torch

    return isinstance(module, torch.fx.GraphModule)


def run_eager(module: "nn.Module", spec: ModelSpec, inputs: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """Return the network's outputs by the names of the spec, checked against it.

    Args:
        module: the network.
        spec: what it should take and give.
        inputs: by name, in the order of the spec.

    Raises:
        SpecMismatchError: the network refuses the inputs, or an output differs from what the spec promises.
    """
    try:
        value = module(*inputs.values())
    except Exception as error:
        shapes = ", ".join(f"{name} {list(tensor.shape)} {_dtype(tensor)}" for name, tensor in inputs.items())
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        msg = f"The network refuses what the spec says it takes ({shapes}): {reason}"
        raise SpecMismatchError(msg, next_step="Mend the shapes and types of the spec's inputs.") from error
    return named_outputs(value, spec, inputs)


def named_outputs(value: Any, spec: ModelSpec, inputs: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """Return what a network gave by the names of the spec: a tensor, a tuple in the spec's order, or a dict by name.

    Raises:
        SpecMismatchError: number, names, types, ranks or lengths differ from the spec.
    """
    import torch

    names = [tensor.name for tensor in spec.outputs]
    if isinstance(value, torch.Tensor):
        value = (value,)
    if isinstance(value, Mapping):
        given = {str(name): item for name, item in value.items()}
        if set(given) != set(names):
            msg = f"The spec promises the outputs {names}, and the network gives {list(given)}."
            raise SpecMismatchError(msg)
    else:
        items = list(value) if isinstance(value, list | tuple) else []
        if len(items) != len(names):
            what = len(items) if items else type(value).__name__
            msg = f"The spec promises {len(names)} outputs ({', '.join(names)}), and the network gives {what}."
            raise SpecMismatchError(msg)
        given = dict(zip(names, items, strict=True))
    axes = _lengths(spec, inputs)
    for tensor in spec.outputs:
        _check_output(tensor, given[tensor.name], axes)
    return {name: given[name] for name in names}


def _lengths(spec: ModelSpec, inputs: Mapping[str, "torch.Tensor"]) -> dict[str, int]:
    """Return how long each axis that the inputs name is in this run."""
    return {
        axis: size
        for tensor in spec.inputs
        for axis, size in zip(tensor.shape, inputs[tensor.name].shape, strict=True)
        if isinstance(axis, str)
    }


def _check_output(tensor: TensorSpec, value: Any, axes: Mapping[str, int]) -> None:
    import torch

    if not isinstance(value, torch.Tensor):
        msg = f"The network gives {tensor.name!r} as a {type(value).__name__}, not as a tensor."
        raise SpecMismatchError(msg)
    if value.dtype != torch_dtype(tensor):
        msg = f"The spec promises {tensor.name!r} as {tensor.dtype}, and the network gives {_dtype(value)}."
        raise SpecMismatchError(msg)
    fits = value.ndim == len(tensor.shape)
    for size, axis in zip(value.shape, tensor.shape, strict=False):
        wanted = axes.get(axis, size) if isinstance(axis, str) else axis
        fits = fits and size == wanted
    if not fits:
        promised, found = list(tensor.shape), list(value.shape)
        msg = f"The spec promises {tensor.name!r} of shape {promised}, and the network gives {found}."
        raise SpecMismatchError(msg, next_step="Mend the shapes of the spec's outputs.")


def _dtype(tensor: "torch.Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")
