"""Folds weight normalisation into the weights: a program computes no weight anew at every call.

Both forms of torch are known, `torch.nn.utils.parametrizations.weight_norm` and the older `torch.nn.utils.weight_norm`.
The network is run before and after, and must answer the same.
"""

from typing import TYPE_CHECKING, Any

from wherry.checkpoint.agreement import ABSOLUTE, RELATIVE
from wherry.checkpoint.examples import example_inputs
from wherry.core.errors import CheckpointError
from wherry.core.model import ModelSpec

if TYPE_CHECKING:
    from torch import nn

_BATCH = 2


def fold_weight_norm(network: "nn.Module", spec: ModelSpec) -> int:
    """Replace each normalised weight of `network`, in evaluation mode, by its value; return how many there were.

    Raises:
        CheckpointError: the network answers otherwise afterwards.
    """
    parametrized = [pair for module in network.modules() for pair in _parametrized(module)]
    hooked = [pair for module in network.modules() for pair in _hooked(module)]
    if not parametrized and not hooked:
        return 0
    from torch.nn.utils import parametrize, remove_weight_norm

    before = _answers(network, spec)
    for module, name in parametrized:
        parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    for module, name in hooked:
        remove_weight_norm(module, name)
    _check(before, _answers(network, spec))
    return len(parametrized) + len(hooked)


def _parametrized(module: "nn.Module") -> "list[tuple[nn.Module, str]]":
    from torch.nn.utils import parametrize

    if not parametrize.is_parametrized(module):
        return []
    steps: Any = module.parametrizations
    return [(module, name) for name in steps if all(type(step).__name__ == "_WeightNorm" for step in steps[name])]


def _hooked(module: "nn.Module") -> "list[tuple[nn.Module, str]]":
    """Return what the older form normalises: it leaves `weight_g` and `weight_v` beside a plain `weight`."""
    own = dict(module.named_parameters(recurse=False))
    names = [name.removesuffix("_g") for name in own if name.endswith("_g") and f"{name.removesuffix('_g')}_v" in own]
    return [(module, name) for name in names if name not in own and hasattr(module, name)]


def _answers(network: "nn.Module", spec: ModelSpec) -> list[Any] | None:
    """Return what the network gives for examples of the spec; None when it does not take them, which is told later."""
    import torch
    from torch.utils._pytree import tree_leaves

    inputs = example_inputs(spec, batch=_BATCH, axes={}, seed=0)
    try:
        with torch.no_grad():
            return [leaf.clone() for leaf in tree_leaves(network(*inputs.values())) if isinstance(leaf, torch.Tensor)]
    except Exception:
        return None


def _check(before: list[Any] | None, after: list[Any] | None) -> None:
    import torch

    if before is None or after is None:
        return
    same = [
        torch.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True) for a, b in zip(before, after, strict=True)
    ]
    if not all(same):
        msg = "The network answers otherwise once its weight normalisation is folded into the weights."
        raise CheckpointError(msg, next_step="Remove the weight normalisation before saving the checkpoint.")
