"""Pruning: weights that matter least become zero before anything is exported.

A pruned program is a program like any other: every target can start from it, and what is built from it has to pass
the proof of the version that it came from, whose references were recorded before pruning. Which weights go is decided
by `torch.nn.utils.prune`: by magnitude (`unstructured`), or by the L2 norm of whole output channels (`structured`).
Zeros make a file compress better and let some runtimes skip work; they do not make a dense kernel faster by themselves.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.core.errors import BadInputError, UsageError

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

PRUNE_PROGRAM = "wherry.export.pruning:prune_program"
_KINDS = ("unstructured", "structured")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneJob:
    """What a child process is given."""

    program: str
    """Path of the captured program."""
    pruning: str
    """As `parse_pruning` reads it."""
    out: str
    """Path of the pruned program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What came of it."""

    sha256: str
    """Of the pruned program."""
    layers: int
    """Layers whose weights were looked at."""
    zeros: float
    """Share of those layers' weights that are zero now."""


def parse_pruning(text: str) -> tuple[str, float]:
    """Read `unstructured:0.5` or `structured:0.2`: the kind, and the share of weights or channels to take out.

    Raises:
        UsageError: it is neither, or the share is not between 0 and 1.
    """
    kind, _, share = text.partition(":")
    try:
        amount = float(share)
    except ValueError:
        amount = 0.0
    if kind not in _KINDS or not 0.0 < amount < 1.0:
        msg = f"{text!r} does not say how to prune."
        raise UsageError(msg, next_step="Write unstructured:0.5 or structured:0.2; the share is between 0 and 1.")
    return kind, amount


def prune_program(job: PruneJob) -> Pruned:
    """Write the pruned program.

    Raises:
        UsageError: the pruning is not understood.
        BadInputError: the network has no layer with a weight matrix.
        EngineError: the program cannot be opened.
    """
    import torch

    from wherry.runtime.program import open_program

    kind, amount = parse_pruning(job.pruning)
    program = open_program(Path(job.program))
    weights = _weights(program)
    if not weights:
        msg = "The network has no convolution and no linear layer, so there is nothing to prune."
        raise BadInputError(msg)
    with torch.no_grad():
        for weight in weights.values():
            weight.mul_(_mask(weight, kind, amount))
    torch.export.save(program, job.out)
    total = sum(weight.numel() for weight in weights.values())
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    with Path(job.out).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Pruned(sha256=digest, layers=len(weights), zeros=zeros / total)


def _weights(program: "ExportedProgram") -> "dict[str, torch.Tensor]":
    """Return the matrices and kernels by name; vectors, such as biases and norms, are left alone."""
    names = set(program.graph_signature.parameters)
    return {
        name: tensor
        for name, tensor in program.state_dict.items()
        if name in names and tensor.ndim >= 2 and tensor.is_floating_point()
    }


def _mask(weight: "torch.Tensor", kind: str, amount: float) -> "torch.Tensor":
    import torch
    from torch.nn.utils import prune

    everything = torch.ones_like(weight)
    if kind == "structured" and weight.shape[0] < 2:
        return everything
    method: Any = prune.L1Unstructured(amount) if kind == "unstructured" else prune.LnStructured(amount, n=2, dim=0)
    mask: torch.Tensor = method.compute_mask(weight, everything)
    return mask
