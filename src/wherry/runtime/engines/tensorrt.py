"""Runs a TensorRT engine on an NVIDIA GPU."""

from pathlib import Path
from typing import Any

import numpy as np

from wherry.core.device import DeviceType
from wherry.core.errors import EngineError
from wherry.runtime.cuda_memory import CudaMemory, cuda_memory
from wherry.runtime.interface import Engine, Tensors


class TensorRtEngine(Engine):
    """Tensor names are those of the spec; a batch larger than the engine's profile is run in slices.

    An engine was built for one GPU architecture and one TensorRT, and TensorRT refuses it anywhere else.
    """

    name = "tensorrt"
    module = "tensorrt"
    distributions = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-cu11")
    devices = ("gpu",)

    _engine: Any
    _context: Any
    _memory: CudaMemory
    _kinds: dict[str, "np.dtype[Any]"]
    _largest: int

    @classmethod
    def _unavailable(cls, device: DeviceType) -> str | None:
        import shutil

        return None if shutil.which("nvidia-smi") else "There is no NVIDIA GPU here, or no driver for it."

    def _load(self, path: Path) -> None:
        if path.suffix != ".engine":
            msg = f"{path.name} is a kit that builds an engine, and nothing that a GPU runs."
            raise EngineError(msg, next_step="Build the kit on the device, or export there.")
        import tensorrt

        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.WARNING))
        self._engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            msg = f"TensorRT {tensorrt.__version__} does not accept {path.name}: it was built for another one, or GPU."
            raise EngineError(msg, next_step="Build the engine again on this device.")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        wanted = [tensor.name for tensor in (*self.spec.inputs, *self.spec.outputs)]
        if sorted(names) != sorted(wanted):
            msg = f"{path.name} has the tensors {sorted(names)}, the spec says {sorted(wanted)}."
            raise EngineError(msg)
        self._kinds = {name: np.dtype(tensorrt.nptype(self._engine.get_tensor_dtype(name))) for name in names}
        first = self.spec.inputs[0].name
        self._largest = int(self._engine.get_tensor_profile_shape(first, 0)[2][0])
        self._context = self._engine.create_execution_context()
        self._memory = cuda_memory()

    def _infer(self, inputs: Tensors) -> Tensors:
        rows = len(next(iter(inputs.values())))
        starts = range(0, rows, self._largest)
        parts = [self._piece({n: a[start : start + self._largest] for n, a in inputs.items()}) for start in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _piece(self, inputs: Tensors) -> Tensors:
        for name, array in inputs.items():
            if array.dtype != self._kinds[name]:
                msg = f"The engine takes {name!r} as {self._kinds[name]}, and it is {array.dtype}."
                raise EngineError(msg)
            if not self._context.set_input_shape(name, array.shape):
                msg = f"The engine was not built for {name!r} of shape {list(array.shape)}."
                raise EngineError(msg, next_step="Export with a profile that covers it.")
        try:
            for name, array in inputs.items():
                self._context.set_tensor_address(name, self._memory.put(array))
            rooms = {tensor.name: self._room(tensor.name) for tensor in self.spec.outputs}
            if not self._context.execute_async_v3(self._memory.stream):
                msg = "TensorRT failed while running; its log says why."
                raise EngineError(msg)
            return {name: self._memory.get(address) for name, address in rooms.items()}
        finally:
            self._memory.free()

    def _room(self, name: str) -> int:
        shape = tuple(int(size) for size in self._context.get_tensor_shape(name))
        address = self._memory.room(shape, self._kinds[name])
        self._context.set_tensor_address(name, address)
        return address

    def _close(self) -> None:
        if self._context is not None:
            self._memory.close()
        self._context = None
        self._engine = None

    def _device(self) -> str:
        return "cuda:0"

    def _effective(self) -> dict[str, object]:
        return {"threads": self.options.threads, "largest_batch": self._largest}
