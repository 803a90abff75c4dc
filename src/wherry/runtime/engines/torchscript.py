"""Runs a TorchScript file with PyTorch, on the CPU or a CUDA GPU.

TorchScript holds code of its own language, which is interpreted, and is read by PyTorch's C++ unpickler, which knows
tensors, numbers and the file's own classes and calls nothing of Python. It is still code: run files that were signed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wherry.runtime.torch_family import TorchFamilyEngine


class TorchScriptEngine(TorchFamilyEngine):
    """Needs neither the network's code nor its graph; LibTorch runs the same file without Python."""

    name = "torchscript"
    devices = ("cpu", "gpu")

    def _open(self, path: Path) -> Callable[..., Any]:
        import warnings

        import torch

        with warnings.catch_warnings():  # torch.jit is deprecated, which whoever runs a finished file cannot change
            warnings.simplefilter("ignore", DeprecationWarning)
            load: Any = torch.jit.load  # without types
            module: Callable[..., Any] = load(str(path), map_location=self._where).eval()
        return module
