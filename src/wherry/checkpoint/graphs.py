"""Networks that are graphs already, from TorchScript or a captured program, made fit to be captured like any other."""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wherry.checkpoint.agreement import ABSOLUTE, RELATIVE
from wherry.checkpoint.blame import first_line
from wherry.checkpoint.examples import example_inputs
from wherry.core.errors import CheckpointError, SpecMismatchError
from wherry.core.model import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

_BATCH = 2
_NEXT = "Register the eager network instead: its state_dict with --network package.module:function."


def is_script(network: "nn.Module") -> bool:
    """Return whether the network is TorchScript."""
    import torch

    return isinstance(network, torch.jit.ScriptModule)


def from_script(script: "nn.Module", spec: ModelSpec, *, batches: Iterable[int] = (1, 2, 3)) -> "nn.Module":
    """Return a TorchScript network as a graph that can be captured, after comparing the two.

    torch.export takes no TorchScript; torch's own converter (`torch._export.converter`, TS2EPConverter) makes a graph
    of it for one example. Whether that graph holds for other batch sizes is seen here by running both.

    Args:
        script: in evaluation mode.
        spec: its inputs say what the network takes; outputs are compared as they come.
        batches: sizes to compare; a fixed first axis has its own.

    Raises:
        SpecMismatchError: the network refuses what the spec says it takes.
        CheckpointError: it cannot be converted, or the graph gives something else.
    """
    import torch
    from torch._export.converter import TS2EPConverter

    convert: Any = TS2EPConverter

    script.eval()
    first = spec.inputs[0].shape[0] if spec.inputs else None
    inputs = tuple(example_inputs(spec, batch=_BATCH, axes={}, seed=0).values())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter tells of buffers that are not used
        _run_script(script, inputs)
        try:
            program = convert(script, inputs).convert()
        except Exception as error:
            msg = f"The TorchScript network cannot be captured: {first_line(error)}"
            raise CheckpointError(msg, next_step=_NEXT) from error
        graph = as_network(program.module())
        for batch in (first,) if isinstance(first, int) else batches:
            _compare(script, graph, tuple(example_inputs(spec, batch=batch, axes={}, seed=batch).values()))
    return graph


def as_network(graph: "nn.Module") -> "nn.Module":
    """Return the module of a captured program with a mode that can be set; setting it changes nothing in a graph."""
    for name in ("train", "eval"):
        graph.__dict__.pop(name, None)  # torch.export puts methods there that refuse
    return graph


def _run_script(script: "nn.Module", inputs: "tuple[torch.Tensor, ...]") -> Any:
    try:
        return script(*inputs)
    except Exception as error:
        lines = [line for line in str(error).strip().splitlines() if "Error" in line] or [first_line(error)]
        shapes = ", ".join(str(list(tensor.shape)) for tensor in inputs)
        msg = f"The TorchScript network refuses what the spec says it takes ({shapes}): {lines[-1][:300]}"
        raise SpecMismatchError(msg, next_step="Mend the shapes and types of the spec's inputs.") from error


def _compare(script: "nn.Module", graph: "nn.Module", inputs: "tuple[torch.Tensor, ...]") -> None:
    import torch
    from torch.utils._pytree import tree_leaves

    expected = tree_leaves(_run_script(script, inputs))
    try:
        given = tree_leaves(graph(*inputs))
    except Exception as error:
        msg = f"The TorchScript network was traced for a batch of {_BATCH} and cannot take {len(inputs[0])}."
        raise CheckpointError(
            msg, next_step="Write the batch axis of the spec as a number, or trace it again."
        ) from error
    same = len(expected) == len(given) and all(
        left.shape == right.shape and torch.allclose(left, right, rtol=RELATIVE, atol=ABSOLUTE)
        for left, right in zip(expected, given, strict=True)
        if isinstance(left, torch.Tensor)
    )
    if not same:
        msg = "The graph that torch made of the TorchScript network answers otherwise than the network."
        raise CheckpointError(msg, next_step=_NEXT)
