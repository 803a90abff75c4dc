"""What formats with fixed shapes share: their batch, the zeros that trace them, calibration in pieces of that size."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.calibration import open_calibration
from wherry.export.interface import Source, spec_batch
from wherry.runtime.interface import Tensors
from wherry.runtime.preprocess import prepare
from wherry.runtime.program import open_program

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram


def refuses_shapes(target: Target, spec: ModelSpec) -> str | None:
    """Return why the model cannot have the fixed shapes of this target, or None; looks at the option `batch` too."""
    for tensor in spec.inputs:
        loose = [axis for axis in tensor.shape[1:] if isinstance(axis, str)]
        if loose:
            return (
                f"The format {target.format} has fixed shapes, and axis {loose[0]!r} of input {tensor.name!r} is "
                "dynamic."
            )
    asked, own = target.options.get("batch"), spec_batch(spec)
    if asked is not None and asked < 1:
        return f"A batch of {asked} cannot be built."
    if asked is not None and own is not None and asked != own:
        return f"The network itself has a fixed batch of {own}, so {asked} cannot be built."
    return None


def fixed_batch(target: Target, spec: ModelSpec) -> int:
    """Return the option `batch`, else the model's own fixed batch, else 1."""
    asked: int | None = target.options.get("batch")
    return asked or spec_batch(spec) or 1


def batch_overrides(target: Target, spec: ModelSpec, why: str) -> tuple[str, ...]:
    """Return the sentence about a dynamic batch that was fixed, where nobody asked for it.

    Args:
        target: what was asked for.
        spec: the model.
        why: end of the sentence, such as `as TFLite files have fixed shapes`.
    """
    silent = spec_batch(spec) is None and target.options.get("batch") is None
    return (f"The batch is fixed at 1, {why}.",) if silent else ()


def zeros(spec: ModelSpec, batch: int) -> "tuple[torch.Tensor, ...]":
    """Return one tensor of zeros for each input, with that batch; no other axis may be dynamic."""
    import torch

    shapes = [(batch, *(int(axis) for axis in tensor.shape[1:])) for tensor in spec.inputs]
    kinds = [getattr(torch, tensor.dtype) for tensor in spec.inputs]
    return tuple(torch.zeros(shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True))


class CalibrationSlices:
    """A calibration set through the model's own preprocessing, `batch` examples at a time; can be gone through again.

    A last, shorter slice is filled up with its last example, which changes no range.
    """

    def __init__(self, path: Path, spec: ModelSpec, batch: int) -> None:
        self._raw = open_calibration(path).raw
        self._spec = spec
        self._batch = batch

    def __iter__(self) -> Iterator[Tensors]:
        for start in range(0, len(self._raw), self._batch):
            piece = self._raw[start : start + self._batch]
            missing = self._batch - len(piece)
            if missing:
                piece = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)])
            yield prepare(piece, self._spec)


def fixed_program(source: Source, batch: int) -> "ExportedProgram":
    """Return the program captured once more with that batch, and with everything computed that depends on no input.

    The second part is what undoes a weight norm: it would otherwise be computed with every inference, and a delegate
    does not take a convolution whose weights are not constant.
    """
    import torch
    from torch._inductor.constant_folding import constant_fold

    example = zeros(source.spec, batch)
    module = torch.export.export(open_program(source.program).module(), example).module(check_guards=False)
    with torch.no_grad():
        constant_fold(module)
    return torch.export.export(module, example)
