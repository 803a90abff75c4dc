"""What the engines that compute with PyTorch share: where it computes, on how many threads, tensors in and out."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherry.core.device import DeviceType
from wherry.core.errors import EngineError
from wherry.runtime.interface import Array, Engine, Tensors

if TYPE_CHECKING:
    import torch

_TORCH_DEVICES = {"cpu": "cpu", "gpu": "cuda:0", "mps": "mps"}


class TorchFamilyEngine(Engine):
    """Calls what the member opened with the inputs in the order of the spec; outputs are named in that order too.

    The number of threads is a setting of the whole process in PyTorch: the last engine that ran with a number of its
    own decides for those that leave it at 0.
    """

    module = "torch"
    extra = "torch"

    _call: Any
    _where: "torch.device"
    _threads: int
    _half: bool = False
    """Whether the member's weights are half precision; an accelerator then computes in it, the CPU in float32."""

    @abstractmethod
    def _open(self, path: Path) -> Callable[..., Any]:
        """Hook: return what is called with tensors on `self._where`."""

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

        self._where = torch.device(_TORCH_DEVICES[self.options.device])
        self._call = self._open(path)
        self._threads = self.options.threads or torch.get_num_threads()

    def _infer(self, inputs: Tensors) -> Tensors:
        import torch

        if self.options.threads and torch.get_num_threads() != self.options.threads:
            torch.set_num_threads(self.options.threads)
        arrays = [plain(inputs[tensor.name]) for tensor in self.spec.inputs]
        with torch.inference_mode(), torch.autocast(self._where.type, torch.float16, enabled=self._computes_half()):
            found = self._call(*(torch.from_numpy(array).to(self._where) for array in arrays))
        parts = _in_order(found)
        if len(parts) != len(self.spec.outputs):
            msg = f"The network gave {len(parts)} outputs, the spec promises {len(self.spec.outputs)}."
            raise EngineError(msg)
        named = zip(self.spec.outputs, parts, strict=True)
        return {tensor.name: self._widened(part).cpu().numpy() for tensor, part in named}

    def _close(self) -> None:
        self._call = None

    def _device(self) -> str:
        return str(self._where)

    def _effective(self) -> dict[str, object]:
        computes = "float16 where PyTorch's autocast allows" if self._computes_half() else "as the graph says"
        return {"threads": self._threads, "computes": computes}

    def _computes_half(self) -> bool:
        return self._half and self._where.type != "cpu"

    def _widened(self, part: "torch.Tensor") -> "torch.Tensor":
        """Return an output of half-precision computing as float32, which fp16 variants promise at their edges."""
        import torch

        return part.float() if self._computes_half() and part.dtype == torch.float16 else part


def plain(array: Array) -> Array:
    """Return the array with the strides of its shape.

    An axis of length 1 may have any stride in a contiguous array. A convolution that AOTInductor compiled (torch 2.13)
    takes a stride of 1 on a channel axis of length 1 for channels-last, and gives wrong numbers without an error;
    ExecuTorch refuses such a tensor.
    """
    whole = np.require(array, requirements=["C", "W"])
    return whole.reshape(-1).reshape(whole.shape)


def _in_order(found: Any) -> Sequence[Any]:
    if isinstance(found, Mapping):
        return list(found.values())
    return found if isinstance(found, list | tuple) else [found]
