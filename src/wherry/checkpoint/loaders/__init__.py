"""The loader family's table: which member reads which format; listing it imports nothing."""

import importlib

from wherry.checkpoint.interface import Loader
from wherry.core.errors import CheckpointError

LOADERS: dict[str, str] = {
    "torch-zip": "wherry.checkpoint.loaders.state_dict:StateDictLoader",
    "torch-legacy": "wherry.checkpoint.loaders.state_dict:StateDictLoader",
    "safetensors": "wherry.checkpoint.loaders.safetensors:SafetensorsLoader",
    "pt2": "wherry.checkpoint.loaders.pt2:Pt2Loader",
}
"""By the format that the scan found in the content."""


def loader_for(file_format: str) -> Loader:
    """Return the member that reads `file_format`; imports the member's file, not its framework.

    Raises:
        CheckpointError: no member reads it.
    """
    if file_format not in LOADERS:
        msg = f"There is no loader for {file_format!r}."
        raise CheckpointError(msg, next_step=f"Give a file of one of these formats: {', '.join(LOADERS)}.")
    module, _, attribute = LOADERS[file_format].partition(":")
    member: type[Loader] = getattr(importlib.import_module(module), attribute)
    return member()
