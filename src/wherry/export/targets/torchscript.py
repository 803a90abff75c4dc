"""TorchScript: the program traced once more, for LibTorch in C++ and for applications that know `torch.jit.load`."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherry.core.codec import to_builtins
from wherry.core.errors import ExportError
from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.runtime.program import open_program

METADATA = "wherry.json"
"""Extra file inside the archive, which `torch.jit.load(…, _extra_files=…)` gives back."""


class TorchScriptExporter(Exporter):
    """A trace keeps the sizes that the graph computes from its inputs: a dynamic batch stays one, which is tried."""

    format = "torchscript"
    precisions = ("fp32",)
    engine = "torchscript"
    extra = "train"
    suffix = ".torchscript"

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        del target
        return {"torch": ()}

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        del target
        for tensor in spec.inputs:
            loose = [axis for axis in tensor.shape[1:] if isinstance(axis, str)]
            if loose:
                return f"A trace is tried with a dynamic batch only, and axis {loose[0]!r} of {tensor.name!r} is too."
        return None

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        import torch

        spec, module = source.spec, open_program(source.program).module()
        fixed = spec_batch(spec)
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # deprecated, and says of every size that it might be a constant
            trace: Any = torch.jit.trace  # without types
            traced = trace(module, _example(spec, fixed or 2), check_trace=False, strict=False)
            for batch in (fixed,) if fixed else (1, 2, 3):
                _compare(module, traced, _example(spec, batch), batch)
            facts = {"model": source.model, "version": f"v{source.version}", "spec": to_builtins(spec)}
            main = out / f"model{self.suffix}"
            torch.jit.save(traced, str(main), _extra_files={METADATA: json.dumps(facts)})
        return Written(main=main.name, batch=fixed, effective={"precision": target.precision, "traced": True})


def _example(spec: ModelSpec, batch: int) -> tuple[Any, ...]:
    """Return numbers of a fixed seed for each input: zeros could hide what a trace got wrong."""
    import torch

    generator = torch.Generator().manual_seed(batch)
    shapes = [(batch, *(int(axis) for axis in tensor.shape[1:])) for tensor in spec.inputs]
    kinds = [getattr(torch, tensor.dtype) for tensor in spec.inputs]
    return tuple(
        torch.randn(shape, generator=generator).to(kind) if kind.is_floating_point else torch.zeros(shape, dtype=kind)
        for shape, kind in zip(shapes, kinds, strict=True)
    )


def _compare(module: Any, traced: Any, example: tuple[Any, ...], batch: int) -> None:
    from torch.utils import _pytree as pytree

    pairs = zip(pytree.tree_leaves(module(*example)), pytree.tree_leaves(traced(*example)), strict=True)
    if not all(ours.shape == theirs.shape and ours.allclose(theirs, atol=1e-4) for ours, theirs in pairs):
        msg = f"The trace gives something else than the program for a batch of {batch}."
        raise ExportError(msg)
