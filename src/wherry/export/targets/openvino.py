"""OpenVINO IR from the ONNX variant, in the precision of the original."""

from collections.abc import Mapping
from pathlib import Path

from wherry.core.variant import Target
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.runtime import telemetry


class OpenVinoExporter(Exporter):
    """Two files, `model.xml` and `model.bin`. Weights stay float32: OpenVINO's own default would halve them."""

    format = "openvino"
    precisions = ("fp32",)
    engine = "openvino"
    extra = "export-openvino"
    suffix = ".xml"

    @classmethod
    def needs(cls, target: Target) -> str | None:
        """Return `onnx-fp32`."""
        del target
        return "onnx-fp32"

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        del target
        return {"openvino": ()}

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        telemetry.silence()
        import openvino

        model = openvino.Core().read_model(str(source.parent))
        model.set_rt_info(source.model, ["wherry", "model_name"])
        model.set_rt_info(f"v{source.version}", ["wherry", "model_version"])
        main = out / f"model{self.suffix}"
        openvino.save_model(model, str(main), compress_to_fp16=False)
        effective = {"precision": target.precision, "compress_to_fp16": False}
        return Written(main=main.name, batch=spec_batch(source.spec), effective=effective)
