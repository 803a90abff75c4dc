"""The `.pt` that people know: weights under their own names, architecture and metadata, and it runs without code."""

from collections.abc import Mapping
from pathlib import Path

from wherry.core.codec import to_builtins
from wherry.core.errors import EngineError, ExportError
from wherry.core.variant import Target
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.runtime.packed import pack
from wherry.runtime.program import open_program


class PytorchExporter(Exporter):
    """Opens with `torch.load(weights_only=True)`; the layout is that of `runtime/packed.py`.

    fp16 stores half of the bytes. An accelerator computes in half precision as PyTorch's autocast sees fit; the CPU
    computes in float32 with the rounded weights.
    """

    format = "pytorch"
    precisions = ("fp32", "fp16")
    engine = "torch"
    extra = "train"
    suffix = ".pt"

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        del target
        return {"torch": ()}

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        import torch

        program, half = open_program(source.program), target.precision == "fp16"
        architecture = {
            "digest": source.architecture,
            "inputs": to_builtins(source.spec.inputs),
            "outputs": to_builtins(source.spec.outputs),
            "parameters": sum(value.numel() for value in program.parameters()),
            "torch": str(torch.__version__),
        }
        metadata = {
            "model": source.model,
            "version": f"v{source.version}",
            "spec": to_builtins(source.spec),
            "training": to_builtins(source.facts),
        }
        try:
            packed = pack(program, architecture=architecture, metadata=metadata, half=half)
        except EngineError as error:
            raise ExportError(error.message, next_step=error.next_step) from error
        main = out / f"model{self.suffix}"
        torch.save(packed, main)
        effective = {
            "precision": target.precision,
            "stored": "float16" if half else "float32",
            "graph_bytes": packed["architecture"]["graph"].numel(),
        }
        return Written(main=main.name, batch=spec_batch(source.spec), effective=effective)
