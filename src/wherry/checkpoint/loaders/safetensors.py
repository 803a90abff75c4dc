"""Weights saved as safetensors, with the metadata of their header."""

import json
from typing import BinaryIO, ClassVar

from wherry.checkpoint.interface import Content, Loader


class SafetensorsLoader(Loader):
    """Reads with the safetensors library."""

    name: ClassVar[str] = "safetensors"

    def _read(self, file: BinaryIO) -> Content:
        from safetensors.torch import load

        raw = file.read()
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        return Content(tensors=load(raw), metadata=dict(header.get("__metadata__", {})))
