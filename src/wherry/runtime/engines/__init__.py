"""The engine family's table: listing it imports nothing."""

import importlib

from wherry.core.errors import NotFoundError
from wherry.runtime.interface import Engine

ENGINES: dict[str, str] = {
    "null": "wherry.runtime.engines.null:NullEngine",
    "torch": "wherry.runtime.engines.torch:TorchEngine",
    "onnxruntime": "wherry.runtime.engines.onnxruntime:OnnxRuntimeEngine",
    "litert": "wherry.runtime.engines.litert:LiteRtEngine",
    "openvino": "wherry.runtime.engines.openvino:OpenVinoEngine",
}


def engine_class(name: str) -> type[Engine]:
    """Return the member of that name; imports the member's file, not its runtime.

    Raises:
        NotFoundError: no such engine.
    """
    if name not in ENGINES:
        msg = f"There is no engine {name!r}."
        raise NotFoundError(msg, next_step=f"Use one of {', '.join(ENGINES)}.")
    module, _, attribute = ENGINES[name].partition(":")
    member: type[Engine] = getattr(importlib.import_module(module), attribute)
    return member
