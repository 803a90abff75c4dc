"""Memory of an NVIDIA GPU for runtimes that bring none of their own: through cuda-python, or through torch."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from wherry.core.errors import EngineError, ToolchainMissingError
from wherry.runtime.installed import installed_version
from wherry.runtime.interface import Array


class CudaMemory(ABC):
    """One stream and the buffers that were taken; everything is freed by `close`."""

    stream: int
    """Handle of the stream on which copies and work are queued."""

    @abstractmethod
    def put(self, array: Array) -> int:
        """Copy an array to the GPU and return its address there."""

    @abstractmethod
    def room(self, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> int:
        """Return the address of an empty array on the GPU."""

    @abstractmethod
    def get(self, address: int) -> Array:
        """Wait for the stream and return what lies at an address that `room` gave."""

    @abstractmethod
    def free(self) -> None:
        """Give back all buffers."""

    @abstractmethod
    def close(self) -> None:
        """Give back the stream too."""


def cuda_memory() -> CudaMemory:
    """Return memory of the first GPU.

    Raises:
        ToolchainMissingError: neither cuda-python nor torch is installed.
    """
    if installed_version("cuda", ("cuda-bindings", "cuda-python")) is not None:
        return _Bindings()
    if installed_version("torch") is not None:
        return _Torch()
    msg = "TensorRT needs cuda-python or torch to reach the GPU's memory, and neither is installed."
    raise ToolchainMissingError(msg, next_step="Run: pip install cuda-python")


class _Bindings(CudaMemory):
    def __init__(self) -> None:
        from cuda.bindings import runtime

        self._cuda: Any = runtime
        self._rooms: dict[int, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._taken: list[int] = []
        self._handle = self._asked(runtime.cudaStreamCreate())
        self.stream = int(self._handle)

    def _asked(self, answer: tuple[Any, ...]) -> Any:
        """Return what a call gave behind its error code, which is looked at."""
        error, *rest = answer
        if int(error) != 0:
            msg = f"CUDA failed: {error}."
            raise EngineError(msg)
        return rest[0] if rest else None

    def _take(self, size: int) -> int:
        address = int(self._asked(self._cuda.cudaMalloc(max(size, 1))))
        self._taken.append(address)
        return address

    def put(self, array: Array) -> int:
        whole = np.ascontiguousarray(array)
        address = self._take(whole.nbytes)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._asked(self._cuda.cudaMemcpy(address, whole.ctypes.data, whole.nbytes, kind))
        return address

    def room(self, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> int:
        address = self._take(int(np.prod(shape)) * dtype.itemsize)
        self._rooms[address] = (shape, dtype)
        return address

    def get(self, address: int) -> Array:
        shape, dtype = self._rooms[address]
        self._asked(self._cuda.cudaStreamSynchronize(self._handle))
        array = np.empty(shape, dtype)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._asked(self._cuda.cudaMemcpy(array.ctypes.data, address, array.nbytes, kind))
        return array

    def free(self) -> None:
        self._rooms.clear()
        while self._taken:
            self._asked(self._cuda.cudaFree(self._taken.pop()))

    def close(self) -> None:
        self.free()
        self._asked(self._cuda.cudaStreamDestroy(self._handle))


class _Torch(CudaMemory):
    def __init__(self) -> None:
        import torch

        self._torch: Any = torch
        self._kept: dict[int, Any] = {}
        self._queue = self._torch.cuda.Stream()
        self.stream = int(self._queue.cuda_stream)

    def put(self, array: Array) -> int:
        tensor = self._torch.from_numpy(np.ascontiguousarray(array)).cuda()
        self._torch.cuda.synchronize()  # the copy was queued on another stream
        self._kept[tensor.data_ptr()] = tensor
        return int(tensor.data_ptr())

    def room(self, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> int:
        tensor = self._torch.empty(shape, dtype=getattr(self._torch, dtype.name), device="cuda")
        self._kept[tensor.data_ptr()] = tensor
        return int(tensor.data_ptr())

    def get(self, address: int) -> Array:
        self._queue.synchronize()
        array: Array = self._kept[address].cpu().numpy()
        return array

    def free(self) -> None:
        self._kept.clear()

    def close(self) -> None:
        self.free()
