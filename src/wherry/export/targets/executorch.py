"""ExecuTorch: the program lowered to XNNPACK for phones and boards; portable kernels run what XNNPACK does not take."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.fixed import (
    CalibrationSlices,
    batch_overrides,
    fixed_batch,
    fixed_program,
    refuses_shapes,
    zeros,
)
from wherry.export.interface import Exporter, Source, Written

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_PLUMBING = ("getitem", "executorch_call_delegate")


class ExecuTorchExporter(Exporter):
    """Shapes are fixed; a dynamic batch becomes the option `batch`, or 1.

    int8 is symmetric, with weights per channel; which operators are quantized is what XNNPACK's own quantizer says.
    Operators that XNNPACK does not take run on portable kernels, many times slower and without a word: they are
    counted and named in the receipt.
    """

    format = "executorch"
    precisions = ("fp32", "int8", "int8-dynamic")
    calibrated = ("int8",)
    options: ClassVar[Mapping[str, type]] = {"batch": int}
    engine = "executorch"
    extra = "export-executorch"
    suffix = ".pte"

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        return {"torch": (), "executorch": ()} | ({} if target.precision == "fp32" else {"torchao": ()})

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        return refuses_shapes(target, spec)

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        batch = fixed_batch(target, source.spec)
        program = fixed_program(source, batch)
        if target.precision != "fp32":
            program = _quantized(program, source, batch, dynamic=target.precision == "int8-dynamic")
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        delegated, portable = _operators(lowered.exported_program().graph_module)
        main = out / f"model{self.suffix}"
        with main.open("wb") as stream:
            lowered.to_executorch().write_to_file(stream)
        effective = {
            "precision": target.precision,
            "batch": batch,
            "delegate": "XNNPACK",
            "operators": {"XNNPACK": delegated, "portable": portable.total()},
            "portable": dict(sorted(portable.items())),
        }
        overrides = batch_overrides(target, source.spec, "as this ExecuTorch file has fixed shapes")
        return Written(main=main.name, batch=batch, effective=effective, overrides=(*overrides, *_left_out(portable)))


def _quantized(program: "ExportedProgram", source: Source, batch: int, *, dynamic: bool) -> "ExportedProgram":
    """Return the program with int8 weights and activations (torchao's PT2E, XNNPACK's own quantizer)."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=dynamic)
    prepared = prepare_pt2e(program.module(), XNNPACKQuantizer().set_global(config))
    with torch.no_grad():
        if dynamic or source.calibration is None:
            prepared(*zeros(source.spec, batch))  # ranges of weights do not depend on it
        else:
            for piece in CalibrationSlices(source.calibration, source.spec, batch):
                prepared(*(torch.from_numpy(piece[tensor.name]) for tensor in source.spec.inputs))
    return torch.export.export(convert_pt2e(prepared), zeros(source.spec, batch))


def _operators(graph_module: Any) -> tuple[int, Counter[str]]:
    """Return how many operators the delegate takes, and which it leaves."""
    left = Counter(_names(graph_module.graph))
    inner = [getattr(graph_module, node.target) for node in graph_module.graph.nodes if node.op == "get_attr"]
    taken = [list(_names(module.original_module.graph)) for module in inner if hasattr(module, "original_module")]
    return sum(map(len, taken)), left


def _names(graph: Any) -> list[str]:
    found = [node.target for node in graph.nodes if node.op == "call_function"]
    return [name for name in map(_name, found) if name not in _PLUMBING]


def _name(target: Any) -> str:
    """Return `aten.mean.dim` for an operator, in ExecuTorch's wrapping or without it, and the name of a function."""
    import torch

    overload = type(torch.ops.aten.mean.dim)
    for operator in (getattr(target, "_op", None), target):
        if isinstance(operator, overload):
            return str(operator)
    return str(getattr(target, "__name__", target))


def _left_out(portable: Counter[str]) -> tuple[str, ...]:
    if not portable:
        return ()
    names = ", ".join(sorted(portable))
    return (f"XNNPACK does not take {portable.total()} operators, which run on slow portable kernels: {names}.",)
