"""Runs a captured program (`.pt2`) with PyTorch, on the CPU, a CUDA GPU or Apple's MPS."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherry.core.device import DeviceType
from wherry.core.errors import EngineError
from wherry.core.report import Execution
from wherry.runtime.execution import shares
from wherry.runtime.interface import Engine, Tensors
from wherry.runtime.program import open_program

if TYPE_CHECKING:
    import torch

_TORCH_DEVICES = {"cpu": "cpu", "gpu": "cuda:0", "mps": "mps"}


class TorchEngine(Engine):
    """Calls the program with the inputs in the order of the spec; outputs are named in the order of the spec.

    The number of threads is a setting of the whole process in PyTorch: the last engine that ran with a number of its
    own decides for those that leave it at 0.
    """

    name = "torch"
    module = "torch"
    extra = "torch"
    devices = ("cpu", "gpu", "mps")

    _call: Any
    _where: "torch.device"
    _threads: int

    @classmethod
    def _unavailable(cls, device: DeviceType) -> str | None:
        if device == "cpu":
            return None
        import torch

        if device == "gpu" and not torch.cuda.is_available():
            built = torch.version.cuda
            return f"PyTorch finds no CUDA GPU here (built for CUDA {built})." if built else "This PyTorch has no CUDA."
        if device == "mps" and not torch.backends.mps.is_available():
            return "PyTorch finds no Apple GPU (MPS) here."
        return None

    def _load(self, path: Path) -> None:
        import torch
        from torch.export.passes import move_to_device_pass

        self._where = torch.device(_TORCH_DEVICES[self.options.device])
        program = open_program(path)
        if self._where.type != "cpu":
            program = move_to_device_pass(program, self._where)
        self._call = program.module()
        self._threads = self.options.threads or torch.get_num_threads()

    def _infer(self, inputs: Tensors) -> Tensors:
        import torch

        if self.options.threads:
            torch.set_num_threads(self.options.threads)
        arrays = [np.require(inputs[tensor.name], requirements=["C", "W"]) for tensor in self.spec.inputs]
        with torch.inference_mode():
            found = self._call(*(torch.from_numpy(array).to(self._where) for array in arrays))
        parts = _in_order(found)
        if len(parts) != len(self.spec.outputs):
            msg = f"The program gave {len(parts)} outputs, the spec promises {len(self.spec.outputs)}."
            raise EngineError(msg)
        named = zip(self.spec.outputs, parts, strict=True)
        return {tensor.name: part.detach().cpu().numpy() for tensor, part in named}

    def _executed(self, inputs: Tensors) -> tuple[tuple[Execution, ...], str | None]:
        """Count the graph's calls: PyTorch runs all of them where their tensors are."""
        calls = sum(node.op == "call_function" for node in self._call.graph.nodes)
        return shares([self._device()] * calls), None

    def _close(self) -> None:
        self._call = None

    def _device(self) -> str:
        return str(self._where)

    def _effective(self) -> dict[str, object]:
        return {"threads": self._threads}


def _in_order(found: Any) -> Sequence[Any]:
    if isinstance(found, Mapping):
        return list(found.values())
    return found if isinstance(found, list | tuple) else [found]
