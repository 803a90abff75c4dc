"""Runs a captured program, a `.pt2` or a packed `.pt`, with PyTorch on the CPU, a CUDA GPU or Apple's MPS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wherry.core.report import Execution
from wherry.runtime.execution import shares
from wherry.runtime.interface import Tensors
from wherry.runtime.packed import is_packed, open_packed
from wherry.runtime.program import open_program
from wherry.runtime.torch_family import TorchFamilyEngine


class TorchEngine(TorchFamilyEngine):
    """Tells the two files apart by their content; in both of them the network is a graph without code."""

    name = "torch"
    devices = ("cpu", "gpu", "mps")

    def _open(self, path: Path) -> Callable[..., Any]:
        from torch.export.passes import move_to_device_pass

        if is_packed(path):
            packed = open_packed(path)
            program, self._half = packed.program, packed.half
        else:
            program = open_program(path)
        if self._where.type != "cpu":
            program = move_to_device_pass(program, self._where)
        return program.module()

    def _executed(self, inputs: Tensors) -> tuple[tuple[Execution, ...], str | None]:
        """Count the graph's calls: PyTorch runs all of them where their tensors are."""
        calls = sum(node.op == "call_function" for node in self._call.graph.nodes)
        return shares([self._device()] * calls), None
