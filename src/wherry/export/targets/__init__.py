"""The target family's table: listing it imports nothing."""

from wherry.core.family import look_up
from wherry.export.interface import Exporter

TARGETS: dict[str, str] = {
    "null": "wherry.export.targets.null:NullExporter",
    "pt2": "wherry.export.targets.pt2:Pt2Exporter",
    "pytorch": "wherry.export.targets.pytorch:PytorchExporter",
    "torchscript": "wherry.export.targets.torchscript:TorchScriptExporter",
    "aoti": "wherry.export.targets.aoti:AotiExporter",
    "onnx": "wherry.export.targets.onnx:OnnxExporter",
    "tflite": "wherry.export.targets.tflite:TfliteExporter",
    "openvino": "wherry.export.targets.openvino:OpenVinoExporter",
    "tensorrt": "wherry.export.targets.tensorrt:TensorRtExporter",
    "hailo": "wherry.export.targets.hailo:HailoExporter",
    "executorch": "wherry.export.targets.executorch:ExecuTorchExporter",
    "coreml": "wherry.export.targets.coreml:CoreMlExporter",
}


def exporter_class(name: str) -> type[Exporter]:
    """Return the member for that format; imports the member's file, not its tools.

    Raises:
        NotFoundError: no such format.
    """
    step = f"Use one of {', '.join(TARGETS)}; `wherry targets` says more."
    member: type[Exporter] = look_up(TARGETS, name, "target format", next_step=step)
    return member
