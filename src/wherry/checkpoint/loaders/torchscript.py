"""TorchScript: a network with its weights and its code in torch's own small language, saved by `torch.jit.save`."""

from typing import Any, BinaryIO, ClassVar

from wherry.checkpoint.interface import Content, Loader


class TorchScriptLoader(Loader):
    """Reads with `torch.jit.load`; torch interprets the code, which the scan has read."""

    name: ClassVar[str] = "torchscript"

    def _read(self, file: BinaryIO) -> Content:
        import torch

        load: Any = torch.jit.load  # without types in torch
        network = load(file, map_location="cpu")
        return Content(tensors=dict(network.state_dict()), metadata={}, network=network)
