"""OpenVINO IR from the ONNX variant: as it is, with float16 or eight-bit weights, or quantized with NNCF."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.calibration_batches import prepared_batches
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.export.metadata import write_metadata
from wherry.export.onnxfile import named_nodes
from wherry.export.quantize.openvino_int8 import PRESETS, WEIGHTS, NncfOptions, NncfQuantizer, compress, read
from wherry.runtime import telemetry

_HALF = "Weights are stored in float16; the engine computes in float32 on a CPU, as its precision hint says."
_OPTIONS: Mapping[str, Mapping[str, type]] = {
    "int8": {"preset": str, "fast_bias_correction": bool, "exclude": list},
    "int8-weights": {"weights": str, "exclude": list},
}
Made = tuple[Any, dict[str, Any]]


class OpenVinoExporter(Exporter):
    """`model.xml` and `model.bin`, and the metadata beside them. fp32 stays so: OpenVINO's own default would halve it.

    Options: `exclude`, modules or operators of the ONNX file that stay in float; `preset` (mixed, performance) and
    `fast_bias_correction` for int8; `weights` (int8_asym, int8_sym) for int8-weights.
    """

    format = "openvino"
    precisions = ("fp32", "fp16", "int8", "int8-weights")
    calibrated = ("int8",)
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
        telemetry.silence()
        import openvino

        model, effective = _make(source, target)
        model.set_rt_info(source.model, ["wherry", "model_name"])
        model.set_rt_info(f"v{source.version}", ["wherry", "model_version"])
        main, half = out / f"model{self.suffix}", target.precision == "fp16"
        openvino.save_model(model, str(main), compress_to_fp16=half)
        effective = {"precision": target.precision, "compress_to_fp16": half, **effective}
        batch = spec_batch(source.spec)
        write_metadata(out, source, target, batch=batch, effective=effective)
        return Written(main=main.name, batch=batch, effective=effective, overrides=(_HALF,) if half else ())


def _make(source: Source, target: Target) -> Made:
    parent = Path(source.parent or "")
    if target.precision in ("fp32", "fp16"):
        return read(parent), {"execution": "f32"}
    excluded = named_nodes(parent, target.options.get("exclude", []))
    if target.precision == "int8-weights":
        mode = target.options.get("weights", WEIGHTS[0])
        return compress(parent, mode, excluded), {"weights": mode, "left_in_float": excluded, "execution": "f32"}
    batches = prepared_batches(source.calibration, source.spec)
    quantizer = NncfQuantizer(parent, batches, NncfOptions.of(target))
    return quantizer.build(excluded), {**quantizer.effective(), "left_in_float": excluded}
