"""ONNX: fp32 from the program through torch's exporters, everything else from the fp32 variant."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.calibration_batches import prepared_batches
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.export.metadata import write_metadata
from wherry.export.onnx_adoption import adopt_onnx
from wherry.export.onnxfile import eight_bit_share, finish, named_nodes
from wherry.export.onnxwriting import FIRST_CAPTURED, OPSETS, write_onnx
from wherry.export.quantize.controlled import Recipe, build_eight
from wherry.export.quantize.onnx_half import to_half
from wherry.export.quantize.onnx_static import METHODS, StaticOptions, StaticQuantizer
from wherry.export.quantize.onnx_weights import quantize_dynamic, quantize_weights

_PER_CHANNEL = 13
"""The first opset in which DequantizeLinear has a scale for each channel."""
_OPTIONS: Mapping[str, Mapping[str, type]] = {
    "fp32": {},
    "fp16": {"keep_float": list},
    "int8": {"calibration_method": str, "symmetric_activations": bool, "exclude": list},
    "int8-dynamic": {"exclude": list},
    "int8-weights": {"exclude": list},
}
Made = tuple[dict[str, Any], tuple[str, ...]]


class OnnxExporter(Exporter):
    """One file with the weights inside, and its metadata beside it; tensor and axis names are those of the spec.

    Options: `opset` (11 to the newest) for all; `keep_float`, operator types that stay in float32 in fp16; for int8
    `calibration_method`, `symmetric_activations`, and `exclude`, modules or operators that stay in float32.
    """

    format = "onnx"
    precisions = ("fp32", "fp16", "int8", "int8-dynamic", "int8-weights")
    calibrated = ("int8",)
    controlled = ("int8",)
    options: ClassVar[Mapping[str, type]] = {"opset": int} | {k: v for o in _OPTIONS.values() for k, v in o.items()}
    engine = "onnxruntime"
    extra = "export-onnx"
    starts_from = ("pt2", "onnx")
    suffix = ".onnx"

    @classmethod
    def needs(cls, target: Target) -> str | None:
        """Return `onnx-fp32` for everything but itself."""
        return None if target.precision == "fp32" else "onnx-fp32"

    @classmethod
    def options_of(cls, precision: str) -> Mapping[str, type]:
        """Return `opset` and what this precision knows beside it."""
        return {"opset": int, **_OPTIONS.get(precision, {})}

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        runtime = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
        if target.precision == "int8-weights":
            return {"onnx": ()}
        if target.precision != "fp32":
            return {"onnx": (), **runtime}
        opset = target.options.get("opset")
        checked = runtime if opset is not None and opset < FIRST_CAPTURED else {}
        return {"torch": (), "onnx": (), "onnxscript": (), **checked}

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        del spec
        method = target.options.get("calibration_method", METHODS[0])
        if method not in METHODS:
            return f"The calibration method {method!r} is none of {', '.join(METHODS)}."
        opset = target.options.get("opset")
        if opset is None:
            return None
        if opset not in OPSETS:
            return f"The opset {opset} is not between {OPSETS[0]} and {OPSETS[-1]}."
        if target.precision.startswith("int8") and opset < _PER_CHANNEL:
            return f"{target.name} needs opset {_PER_CHANNEL} or newer: older ones have no scale for each channel."
        return None

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        main = out / f"model{self.suffix}"
        made: Made
        if source.parent is not None:
            made = _derive(source, source.parent, target, main)
        elif source.program_format == "onnx":
            made = {"opset": adopt_onnx(source.program, target.options.get("opset"), main)}, ()
        else:
            made = write_onnx(source.program, source.spec, target.options.get("opset"), main), ()
        effective = {"precision": target.precision, **made[0], "opset": finish(main, source, target)}
        batch = spec_batch(source.spec)
        write_metadata(out, source, target, batch=batch, effective=effective)
        return Written(main=main.name, batch=batch, effective=effective, overrides=made[1])


def _derive(source: Source, parent: Path, target: Target, main: Path) -> Made:
    if target.precision == "int8":
        return _quantize(source, parent, target, main)
    if target.precision == "fp16":
        return to_half(parent, main, target.options.get("keep_float", []))
    excluded = named_nodes(parent, target.options.get("exclude", []))
    write = quantize_dynamic if target.precision == "int8-dynamic" else quantize_weights
    return write(parent, main, excluded)


def _quantize(source: Source, parent: Path, target: Target, main: Path) -> Made:
    with tempfile.TemporaryDirectory(prefix="wherry-quantize-") as folder:
        scratch = Path(folder)
        batches = prepared_batches(source.calibration, source.spec)
        quantizer = StaticQuantizer(parent, batches, StaticOptions.of(target), scratch)
        recipe = Recipe(
            engine=OnnxExporter.engine,
            suffix=OnnxExporter.suffix,
            build=quantizer.build,
            share=eight_bit_share,
            excluded=tuple(named_nodes(parent, target.options.get("exclude", []))),
        )
        made = build_eight(source, target, recipe, main.parent, scratch)
    return {**quantizer.effective(), **made}, ()
