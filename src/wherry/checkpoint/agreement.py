"""Compares the captured program, as it was read back from its bytes, with the network in eager mode."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from wherry.checkpoint.examples import example_inputs
from wherry.checkpoint.forward import named_outputs, run_eager
from wherry.core.errors import CheckpointError, SpecMismatchError
from wherry.core.model import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

# Same kernels on the same machine: what differs is at most the order of a few sums.
RELATIVE = 1e-4
ABSOLUTE = 1e-5


def check_agreement(
    module: "nn.Module",
    program: "nn.Module",
    spec: ModelSpec,
    batches: Iterable[int],
    axes: Mapping[str, int],
    seed: int,
) -> float:
    """Return the largest absolute difference over all outputs and batch sizes.

    Raises:
        SpecMismatchError: the program refuses a batch size that the spec allows.
        CheckpointError: the program's outputs differ from the network's, or are not finite.
    """
    worst = 0.0
    for batch in batches:
        inputs = example_inputs(spec, batch=batch, axes=axes, seed=seed + batch)
        expected = run_eager(module, spec, inputs)
        try:
            value = program(*inputs.values())
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            msg = f"The captured program refuses a batch of {batch}: {reason}"
            raise SpecMismatchError(msg, next_step="Write the axes that are fixed as numbers in the spec.") from error
        given = named_outputs(value, spec, inputs)
        worst = max([worst, *(_difference(name, expected[name], given[name], batch) for name in expected)])
    return worst


def _difference(name: str, expected: "torch.Tensor", given: "torch.Tensor", batch: int) -> float:
    import torch

    if not bool(torch.isfinite(given).all()):
        msg = f"The network gives values in {name!r} that are not finite numbers."
        raise CheckpointError(msg, next_step="Look for an overflow or a division by zero in the network.")
    gap = float((given.double() - expected.double()).abs().max()) if given.numel() else 0.0
    if not torch.allclose(given, expected, rtol=RELATIVE, atol=ABSOLUTE):
        msg = f"The captured program differs from the network in {name!r} at batch {batch} (at most {gap:.3g})."
        raise CheckpointError(msg, next_step="The network may depend on chance or on state: make it deterministic.")
    return gap
