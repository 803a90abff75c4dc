"""The target family's table: listing it imports nothing."""

import importlib

from wherry.core.errors import NotFoundError
from wherry.export.interface import Exporter

TARGETS: dict[str, str] = {
    "null": "wherry.export.targets.null:NullExporter",
    "pt2": "wherry.export.targets.pt2:Pt2Exporter",
    "onnx": "wherry.export.targets.onnx:OnnxExporter",
    "tflite": "wherry.export.targets.tflite:TfliteExporter",
    "openvino": "wherry.export.targets.openvino:OpenVinoExporter",
}


def exporter_class(name: str) -> type[Exporter]:
    """Return the member for that format; imports the member's file, not its tools.

    Raises:
        NotFoundError: no such format.
    """
    if name not in TARGETS:
        msg = f"There is no target format {name!r}."
        raise NotFoundError(msg, next_step=f"Use one of {', '.join(TARGETS)}; `wherry targets` says more.")
    module, _, attribute = TARGETS[name].partition(":")
    member: type[Exporter] = getattr(importlib.import_module(module), attribute)
    return member
