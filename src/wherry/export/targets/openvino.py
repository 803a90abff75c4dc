"""OpenVINO IR from the ONNX variant: as it is, with float16 or eight-bit weights, or quantized with NNCF."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.calibration_batches import prepared_batches
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.export.metadata import write_metadata
from wherry.export.onnxfile import named_nodes
from wherry.export.quantize.controlled import Recipe, build_eight
from wherry.export.quantize.openvino_int8 import (
    PRESETS,
    WEIGHTS,
    NncfOptions,
    NncfQuantizer,
    compress,
    eight_bit_share,
    read,
)
from wherry.runtime import telemetry

_HALF = "Weights are stored in float16; the engine computes in float32 on a CPU, as its precision hint says."
_OPTIONS: Mapping[str, Mapping[str, type]] = {
    "int8": {"preset": str, "fast_bias_correction": bool, "exclude": list},
    "int8-weights": {"weights": str, "exclude": list},
}


class OpenVinoExporter(Exporter):
    """`model.xml` and `model.bin`, and the metadata beside them. fp32 stays so: OpenVINO's own default would halve it.

    Options: `exclude`, modules or operators of the ONNX file that stay in float; `preset` (mixed, performance) and
    `fast_bias_correction` for int8; `weights` (int8_asym, int8_sym) for int8-weights.
    """

    format = "openvino"
    precisions = ("fp32", "fp16", "int8", "int8-weights")
    calibrated = ("int8",)
    controlled = ("int8",)
    options: ClassVar[Mapping[str, type]] = {k: v for named in _OPTIONS.values() for k, v in named.items()}
    engine = "openvino"
    extra = "export-openvino"
    suffix = ".xml"

    @classmethod
    def needs(cls, target: Target) -> str | None:
        """Return `onnx-fp32`."""
        del target
        return "onnx-fp32"

    @classmethod
    def options_of(cls, precision: str) -> Mapping[str, type]:
        """Return what this precision knows."""
        return _OPTIONS.get(precision, {})

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        quantized = {"nncf": (), "onnx": ()} if target.precision.startswith("int8") else {}
        return {"openvino": (), **quantized}

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        del spec
        for option, known in (("preset", PRESETS), ("weights", WEIGHTS)):
            value = target.options.get(option, known[0])
            if value not in known:
                return f"The option {option!r} is {value!r}, and one of {', '.join(known)} is expected."
        return None

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        main, parent = out / f"model{self.suffix}", Path(source.parent or "")
        half = target.precision == "fp16"
        effective: dict[str, Any] = {"precision": target.precision, "compress_to_fp16": half}
        if target.precision == "int8":
            effective |= _quantize(source, target, out)
        elif target.precision == "int8-weights":
            mode, names = target.options.get("weights", WEIGHTS[0]), target.options.get("exclude", [])
            excluded = named_nodes(parent, names)
            _save(compress(parent, mode, excluded), source, main)
            effective |= {"weights": mode, "left_in_float": excluded, "execution": "f32"}
        else:
            _save(read(parent), source, main, half=half)
            effective["execution"] = "f32"
        batch = spec_batch(source.spec)
        write_metadata(out, source, target, batch=batch, effective=effective)
        return Written(main=main.name, batch=batch, effective=effective, overrides=(_HALF,) if half else ())


def _quantize(source: Source, target: Target, out: Path) -> dict[str, Any]:
    parent = Path(source.parent or "")
    batches = prepared_batches(source.calibration, source.spec)
    quantizer = NncfQuantizer(parent, batches, NncfOptions.of(target))
    recipe = Recipe(
        engine=OpenVinoExporter.engine,
        suffix=OpenVinoExporter.suffix,
        build=lambda path, excluded: _save(quantizer.build(excluded), source, path),
        share=eight_bit_share,
        excluded=tuple(named_nodes(parent, target.options.get("exclude", []))),
    )
    with tempfile.TemporaryDirectory(prefix="wherry-quantize-") as scratch:
        return {**quantizer.effective(), **build_eight(source, target, recipe, out, Path(scratch))}


def _save(model: Any, source: Source, main: Path, *, half: bool = False) -> None:
    """Write a model with its name and version in it."""
    telemetry.silence()
    import openvino

    model.set_rt_info(source.model, ["wherry", "model_name"])
    model.set_rt_info(f"v{source.version}", ["wherry", "model_version"])
    openvino.save_model(model, str(main), compress_to_fp16=half)
