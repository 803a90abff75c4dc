"""The loader family's table: which member reads which format; listing it imports nothing."""

from wherry.checkpoint.interface import Loader
from wherry.core.errors import CheckpointError
from wherry.core.family import look_up

LOADERS: dict[str, str] = {
    "torch-zip": "wherry.checkpoint.loaders.state_dict:StateDictLoader",
    "torch-legacy": "wherry.checkpoint.loaders.state_dict:StateDictLoader",
    "safetensors": "wherry.checkpoint.loaders.safetensors:SafetensorsLoader",
    "pt2": "wherry.checkpoint.loaders.pt2:Pt2Loader",
    "onnx": "wherry.checkpoint.loaders.onnx:OnnxLoader",
    "torchscript": "wherry.checkpoint.loaders.torchscript:TorchScriptLoader",
}
"""By the format that the scan found in the content."""


def loader_for(file_format: str, *, modules: bool = False) -> Loader:
    """Return the member that reads `file_format`; imports the member's file, not its framework.

    Args:
        file_format: what the scan found.
        modules: whether whole pickled networks may be read.

    Raises:
        CheckpointError: no member reads it.
    """
    step = f"Give a file of one of these formats: {', '.join(LOADERS)}."
    member: type[Loader] = look_up(LOADERS, file_format, "loader for", next_step=step, error=CheckpointError)
    return member(modules=modules)
