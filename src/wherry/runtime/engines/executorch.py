"""Runs an ExecuTorch program (`.pte`) on the CPU through ExecuTorch's Python runtime."""

import functools
from pathlib import Path
from typing import Any

from wherry.core.errors import EngineError
from wherry.runtime.interface import Engine, Tensors
from wherry.runtime.torch_family import plain


class ExecuTorchEngine(Engine):
    """Inputs and outputs are in the order of the spec.

    The number of threads belongs to the whole process and is set by the first program that is opened in it: setting it
    again frees threads that opened programs still hold, and the next inference would end the process.
    """

    name = "executorch"
    module = "executorch"
    extra = "executorch"

    _program: Any
    _method: Any

    def _load(self, path: Path) -> None:
        from executorch.runtime import Runtime, Verification

        with path.open("rb") as stream:
            # "ET12": flatbuffer's identifier. The runtime itself writes to the log and reads on.
            if stream.read(8)[4:6] != b"ET":
                msg = f"{path.name} is not an ExecuTorch program."
                raise EngineError(msg)
        _set_threads_once(self.options.threads)
        self._program = Runtime.get().load_program(path, verification=Verification.InternalConsistency)
        self._method = self._program.load_method("forward")
        meta = self._method.metadata
        if (meta.num_inputs(), meta.num_outputs()) != (len(self.spec.inputs), len(self.spec.outputs)):
            msg = f"{path.name} has {meta.num_inputs()} inputs and {meta.num_outputs()} outputs, unlike the spec."
            raise EngineError(msg)

    def _infer(self, inputs: Tensors) -> Tensors:
        import torch

        arrays = [plain(inputs[tensor.name]) for tensor in self.spec.inputs]
        found = self._method.execute([torch.from_numpy(array) for array in arrays])
        # The method owns the memory of its outputs and writes into it again.
        return {tensor.name: part.numpy().copy() for tensor, part in zip(self.spec.outputs, found, strict=True)}

    def _close(self) -> None:
        self._method = None
        self._program = None

    def _effective(self) -> dict[str, object]:
        return {
            "threads": self.options.threads,
            "threads_of_process": _threads(),
            "backend": "XNNPACK, and portable kernels for the rest",
        }


@functools.cache
def _first() -> list[int]:
    """Return the one list of this process that holds what its first program asked for."""
    return []


def _set_threads_once(count: int) -> None:
    from executorch.extension.pybindings import portable_lib

    if not _first() and count:
        reset = vars(portable_lib)["_unsafe_reset_threadpool"]
        reset(count)
    _first().append(count)


def _threads() -> int:
    from executorch.extension.pybindings import portable_lib

    return int(vars(portable_lib)["_threadpool_get_thread_count"]())
