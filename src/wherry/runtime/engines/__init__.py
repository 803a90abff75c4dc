"""The engine family's table: listing it imports nothing."""

from wherry.core.family import look_up
from wherry.runtime.interface import Engine

ENGINES: dict[str, str] = {
    "null": "wherry.runtime.engines.null:NullEngine",
    "torch": "wherry.runtime.engines.torch:TorchEngine",
    "torchscript": "wherry.runtime.engines.torchscript:TorchScriptEngine",
    "aoti": "wherry.runtime.engines.aoti:AotiEngine",
    "onnxruntime": "wherry.runtime.engines.onnxruntime:OnnxRuntimeEngine",
    "litert": "wherry.runtime.engines.litert:LiteRtEngine",
    "openvino": "wherry.runtime.engines.openvino:OpenVinoEngine",
    "tensorrt": "wherry.runtime.engines.tensorrt:TensorRtEngine",
    "hailo": "wherry.runtime.engines.hailo:HailoEngine",
    "executorch": "wherry.runtime.engines.executorch:ExecuTorchEngine",
    "coreml": "wherry.runtime.engines.coreml:CoreMlEngine",
}


def engine_class(name: str) -> type[Engine]:
    """Return the member of that name; imports the member's file, not its runtime.

    Raises:
        NotFoundError: no such engine.
    """
    member: type[Engine] = look_up(ENGINES, name, "engine")
    return member
