"""Which extra brings which library, so that a missing one is named with the command that installs it."""

import importlib.util

from wherry.core.errors import ToolchainMissingError

_EXTRAS = {
    "device": ("numpy", "tuf", "securesystemslib", "cryptography", "platformdirs", "psutil", "PIL"),
    "registry": ("sqlalchemy", "alembic", "obstore"),
    "serve": ("starlette", "uvicorn", "orjson", "prometheus_client"),
    "train": ("torch", "safetensors"),
    "onnxruntime": ("onnxruntime",),
    "export-onnx": ("onnx", "onnxscript", "onnx_ir"),
    "export-tflite": ("litert_torch",),
    "litert": ("ai_edge_litert",),
    "openvino": ("openvino",),
    "demo": ("sklearn", "tritonclient"),
}
_APART = {
    "export-openvino": ("nncf",),
    "export-executorch": ("executorch",),
    "export-coreml": ("coremltools",),
    "ray": ("ray",),
    "examples": ("torchvision", "timm", "segmentation_models_pytorch", "ultralytics", "skimage"),
}
"""Libraries that only some targets and examples need; the demo runs without them."""


def missing(library: str | None, *, extra: str | None = None) -> ToolchainMissingError | None:
    """Return the error for a library that is not installed, or None when no extra brings it.

    Args:
        library: the module that could not be imported, such as `sqlalchemy.orm`.
        extra: the extra to name; by default the one that brings the library.
    """
    name = (library or "").partition(".")[0]
    found = next((key for key, libraries in (_EXTRAS | _APART).items() if name in libraries), None)
    if found is None:
        return None
    msg = f"The library {name} is not installed, and this command needs it."
    return ToolchainMissingError(msg, next_step=f"Run: pip install 'wherry[{extra or found}]'")


def demand_all(extra: str) -> None:
    """Ask for every library before work starts, for a command that needs all of them.

    Raises:
        ToolchainMissingError: one is not installed; the next step installs `extra`.
    """
    for library in (name for libraries in _EXTRAS.values() for name in libraries):
        absent = missing(library, extra=extra)
        if absent is not None and importlib.util.find_spec(library) is None:
            raise absent
