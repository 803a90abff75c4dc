"""TFLite through litert-torch, without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path

from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.runtime.program import open_program


class TfliteExporter(Exporter):
    """Shapes are fixed; a dynamic batch becomes a batch of 1, which the engine runs row by row."""

    format = "tflite"
    precisions = ("fp32",)
    engine = "litert"
    extra = "export-tflite"
    suffix = ".tflite"

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        del target
        return {"torch": (), "litert_torch": ("litert-torch",)}

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        del target
        for tensor in spec.inputs:
            loose = [axis for axis in tensor.shape[1:] if isinstance(axis, str)]
            if loose:
                return f"The format tflite has fixed shapes, and axis {loose[0]!r} of input {tensor.name!r} is dynamic."
        return None

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        import litert_torch
        import torch

        batch = spec_batch(source.spec)
        shapes = [(batch or 1, *(int(axis) for axis in tensor.shape[1:])) for tensor in source.spec.inputs]
        kinds = [getattr(torch, tensor.dtype) for tensor in source.spec.inputs]
        sample = tuple(torch.zeros(shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True))
        model = litert_torch.convert(open_program(source.program).module(), sample)
        main = out / f"model{self.suffix}"
        model.export(str(main))
        overrides = () if batch else ("The batch is fixed at 1, as TFLite files have fixed shapes.",)
        effective = {"precision": target.precision, "batch": batch or 1}
        return Written(main=main.name, batch=batch or 1, effective=effective, overrides=overrides)
