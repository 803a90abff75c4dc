"""Captures the program: a network becomes a code-free graph that was seen to do what its spec says.

The file is what is checked: it is written, read again, and run at batch sizes 1, 2 and 3 against the network in eager
mode. Where the sources of the network lay on this machine is taken out of the graph, so the same weights and the same
torch give the same bytes.
"""

import io
import platform
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.checkpoint.agreement import check_agreement
from wherry.checkpoint.architecture import architecture_digest
from wherry.checkpoint.blame import advice, first_line, place_of
from wherry.checkpoint.examples import dynamic_axes, example_inputs
from wherry.checkpoint.forward import by_parameter, check_names, run_eager
from wherry.core.digest import sha256_hex
from wherry.core.errors import CheckpointError, SpecMismatchError, WherryError
from wherry.core.model import ModelSpec
from wherry.durable import atomic_write

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.export import ExportedProgram

_FIXED = re.compile("Constraints violated|specialized|marked as dynamic")
CAPTURE_BATCH = 2
CHECKED_BATCHES = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedProgram:
    """A `.pt2` file that agreed with the network it was captured from."""

    path: Path
    sha256: str
    size: int
    """Length in bytes."""
    architecture: str
    """Digest of the graph without its weights: operators, their options, shapes and data types."""
    tools: dict[str, str]
    """Name and version of what wrote it; a `.pt2` file is not promised to load in every later torch."""
    max_abs: float
    """Largest difference between the file and the network that was seen, over all outputs and batch sizes."""


def capture(
    module: "nn.Module", spec: ModelSpec, path: Path, *, axes: Mapping[str, int] | None = None, seed: int = 0
) -> CapturedProgram:
    """Capture `module` in evaluation mode and write it to `path`; an older file there is replaced in one step.

    Args:
        module: the network; its mode is put back afterwards.
        spec: its input names must be those of `forward`; text axes become dynamic axes of the program.
        path: where the `.pt2` file goes; its folder is made if need be.
        axes: example length of dynamic axes other than the first, such as `{"height": 64}`; without it, the image size
            of the preprocessing, or 32.
        seed: of the random example inputs.

    Raises:
        SpecMismatchError: the network does not accept what the spec says, or does not give what it promises.
        CheckpointError: a weight is not a finite number, or torch cannot capture the network.
        StorageError: the file cannot be written.
    """
    import torch

    _check_weights(module)
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            check_names(module, spec)
            inputs = example_inputs(spec, batch=CAPTURE_BATCH, axes=axes or {}, seed=seed)
            run_eager(module, spec, inputs)
            program = _export(module, spec, inputs)
            data = _save(program)
            reloaded = torch.export.load(io.BytesIO(data)).module()
            worst = check_agreement(module, reloaded, spec, _batches(spec), axes or {}, seed)
    finally:
        module.train(training)
    atomic_write(path, data)
    return CapturedProgram(
        path=path,
        sha256=sha256_hex(data),
        size=len(data),
        architecture=architecture_digest(program),
        tools={"torch": str(torch.__version__), "python": platform.python_version()},
        max_abs=worst,
    )


def _check_weights(module: "nn.Module") -> None:
    """Refuse weights and saved buffers that are not finite; a mask that is not saved may hold infinities."""
    import torch

    kept = module.state_dict(keep_vars=True).keys()
    weights = (("weight", name, weight) for name, weight in module.named_parameters())
    buffers = (("buffer", name, buffer) for name, buffer in module.named_buffers() if name in kept)
    for kind, name, tensor in (*weights, *buffers):
        finite = tensor.is_floating_point() or tensor.is_complex()
        bad = int((~torch.isfinite(tensor)).sum()) if finite else 0
        if bad:
            msg = f"The {kind} {name!r} holds {bad} values of {tensor.numel()} that are not finite numbers."
            raise CheckpointError(msg, next_step="Train again, or take an earlier checkpoint.")


def _batches(spec: ModelSpec) -> tuple[int, ...]:
    """Return the batch sizes to check; a fixed first axis has one."""
    first = spec.inputs[0].shape[0]
    return (first,) if isinstance(first, int) else CHECKED_BATCHES


def _export(module: "nn.Module", spec: ModelSpec, inputs: Mapping[str, "torch.Tensor"]) -> "ExportedProgram":
    import torch

    try:
        axes = by_parameter(module, tuple(dynamic_axes(spec).values()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of attributes that a network keeps for itself: the program is compared
            program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=axes)
    except WherryError:
        raise
    except Exception as error:
        text = str(error)
        if _FIXED.search(text) and "data-dependent" not in text:
            msg = f"The spec names dynamic axes that the network fixes: {_lines(text)}"
            raise SpecMismatchError(msg, next_step="Write those axes of the spec as numbers.") from error
        place = place_of(error)
        where = f" at {place}" if place else ""
        msg = f"torch.export cannot capture {type(module).__name__}{where}: {first_line(error)}"
        raise CheckpointError(msg, next_step=advice(error)) from error
    _forget_sources(program)
    return program


def _lines(text: str) -> str:
    """Return the first lines that carry meaning, as one."""
    kept = [line.strip() for line in text.splitlines() if line.strip() and "TORCH_LOGS" not in line]
    return " ".join(kept[:3])[:500]


def _forget_sources(program: "ExportedProgram") -> None:
    """Take the stack traces out: they hold this machine's paths, and make equal programs differ."""
    import torch

    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


def _save(program: "ExportedProgram") -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()
