"""The engine family: a variant's files and named input tensors in, named output tensors out.

A member is one file in `engines/`. It fills three hooks (`_load`, `_infer`, `_close`); everything else is checked here:
names, dtypes and shapes of what goes in and comes out, fixed batch sizes, and the narrowing of errors. An engine
never casts silently: a tensor of the wrong dtype is refused.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, final

import numpy as np
from numpy.typing import NDArray

from wherry.core.device import DeviceType
from wherry.core.errors import BadInputError, EngineError, ToolchainMissingError, WherryError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.core.report import EngineInfo, Execution
from wherry.runtime.installed import installed_version

Array = NDArray[np.generic]
Tensors = dict[str, Array]
NULL_CONTENT = b"wherry null model 1\n"
"""What the main file of a null variant begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How to run: where, and on how many threads."""

    device: DeviceType = "cpu"
    threads: int = 0
    """0 lets the runtime decide."""
    reference: bool = False
    """Compute as the file says, without the runtime's own optimisations, where the engine can (`has_reference`)."""


class Engine(ABC):
    """An opened variant. Use as a context manager; `run` may be called from one thread at a time."""

    name: ClassVar[str]
    module: ClassVar[str | None] = None
    """Module whose presence means that the runtime is installed; None when nothing is needed."""
    distributions: ClassVar[tuple[str, ...]] = ()
    """Distributions that may carry the module, for its version; the first that is installed counts."""
    extra: ClassVar[str] = ""
    """Name of wherry's extra that brings the runtime."""
    devices: ClassVar[tuple[DeviceType, ...]] = ("cpu",)
    has_reference: ClassVar[bool] = False
    """Whether the runtime's optimisations can be switched off, so that they can be told from the file's own numbers."""

    @final
    def __init__(
        self, path: Path, spec: ModelSpec, *, batch: int | None = None, options: EngineOptions | None = None
    ) -> None:
        """Open the main file at `path`.

        Args:
            path: main file of the variant; its other files lie beside it.
            spec: what the network takes and gives.
            batch: fixed batch size of the variant, or None for a dynamic one.
            options: where and how to run.

        Raises:
            ToolchainMissingError: the runtime is not installed.
            EngineError: the runtime refuses the file or the device.
        """
        self.spec = spec
        self.batch = batch
        self.options = options or EngineOptions()
        reason = self.unsupported(self.options.device)
        if reason is not None:
            raise ToolchainMissingError(reason, next_step=self.install_hint())
        if not path.is_file():
            msg = f"{path} does not exist."
            raise EngineError(msg)
        try:
            self._load(path)
        except WherryError:
            raise
        except Exception as error:
            msg = f"{self.name} cannot load {path.name}: {_first_line(error)}"
            raise EngineError(msg, next_step="Export the variant again, or choose another target.") from error

    @classmethod
    @final
    def version(cls) -> str | None:
        """Return the runtime's version, or None when it is not installed. Imports nothing heavy.

        A runtime that a vendor's image brings without a distribution has the version `unknown`.
        """
        return "built in" if cls.module is None else installed_version(cls.module, cls.distributions)

    @classmethod
    @final
    def unsupported(cls, device: DeviceType = "cpu") -> str | None:
        """Return why this engine cannot run here on `device`, or None; asked before work starts."""
        if cls.version() is None:
            return f"The runtime {cls.name} is not installed."
        if device not in cls.devices:
            return f"The engine {cls.name} does not run on {device}."
        return cls._unavailable(device)

    @classmethod
    @final
    def install_hint(cls) -> str:
        """Return the command that brings the runtime."""
        return f"Run: pip install 'wherry[{cls.extra}]'" if cls.extra else "Choose another engine."

    @final
    def run(self, inputs: Mapping[str, Array]) -> Tensors:
        """Return the outputs by name, in the order of the spec; first axis is the batch.

        A variant of fixed batch size is run in slices; a last, shorter slice is filled up and cut off again.

        Raises:
            BadInputError: a name, dtype or shape does not fit the spec.
            EngineError: the runtime failed, or gave something else than the spec promises.
        """
        rows = _check_inputs(self.spec, inputs)
        try:
            whole = self.batch is None or self.batch == rows
            outputs = self._infer(dict(inputs)) if whole else self._infer_slices(inputs, rows)
        except WherryError:
            raise
        except Exception as error:
            msg = f"{self.name} failed while running: {_first_line(error)}"
            raise EngineError(msg) from error
        return _check_outputs(self.spec, outputs, rows, self.name)

    @final
    def info(self) -> EngineInfo:
        """Return what runs where, with the options that are in effect."""
        return EngineInfo(
            engine=self.name, version=self.version() or "", device=self._device(), options=self._effective()
        )

    @final
    def executed(self, inputs: Mapping[str, Array]) -> EngineInfo:
        """Return `info` with who ran which share of the operators; empty where the runtime does not say.

        Costs a run under the runtime's profiler, and with some a further load of the file: for proofs and benchmarks.

        Raises:
            BadInputError: a name, dtype or shape does not fit the spec.
        """
        _check_inputs(self.spec, inputs)
        rows = self.batch
        given = dict(inputs) if rows is None else {name: _fill(array[:rows], rows) for name, array in inputs.items()}
        try:
            execution, fallback = self._executed(given)
        except Exception:  # a profiler that fails says nothing; what it was asked about is not at fault
            return self.info()
        return replace(self.info(), execution=execution, fallback=fallback)

    @final
    def close(self) -> None:
        """Free the runtime's memory; the engine cannot be used afterwards."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _infer_slices(self, inputs: Mapping[str, Array], rows: int) -> Tensors:
        parts: list[Tensors] = []
        batch = self.batch or rows
        for start in range(0, rows, batch):
            piece = {name: _fill(array[start : start + batch], batch) for name, array in inputs.items()}
            parts.append({name: np.array(out[: rows - start]) for name, out in self._infer(piece).items()})
        return {name: np.concatenate([part[name] for part in parts])[:rows] for name in parts[0]}

    def _executed(self, inputs: Tensors) -> tuple[tuple[Execution, ...], str | None]:
        """Hook: return who ran which share of the operators for these inputs, and why that is not what was asked."""
        del inputs  # this runtime does not say
        return (), None

    @classmethod
    def _unavailable(cls, device: DeviceType) -> str | None:
        """Hook: return why the installed runtime cannot use `device`, or None."""
        del device  # this one has nothing to ask
        return None

    @abstractmethod
    def _load(self, path: Path) -> None:
        """Hook: open the file for `self.options`."""

    @abstractmethod
    def _infer(self, inputs: Tensors) -> Tensors:
        """Hook: return outputs by the names of `self.spec.outputs`; may assume checked inputs."""

    def _close(self) -> None:
        """Hook: free what `_load` took."""
        return

    def _device(self) -> str:
        """Hook: what really computes."""
        return self.options.device

    def _effective(self) -> dict[str, object]:
        """Hook: the options in effect."""
        return {"threads": self.options.threads}


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def _fill(part: Array, batch: int) -> Array:
    missing = batch - len(part)
    if missing == 0:
        return part
    return np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])


def _check_inputs(spec: ModelSpec, inputs: Mapping[str, Array]) -> int:
    expected = {tensor.name for tensor in spec.inputs}
    if set(inputs) != expected:
        msg = f"Inputs are named {sorted(inputs)}, the model takes {sorted(expected)}."
        raise BadInputError(msg)
    axes: dict[str, int] = {}
    for tensor in spec.inputs:
        _check_tensor(tensor, inputs[tensor.name], axes)
    rows = len(inputs[spec.inputs[0].name])
    if rows == 0:
        msg = "The batch is empty."
        raise BadInputError(msg)
    return rows


def _check_tensor(tensor: TensorSpec, array: Array, axes: dict[str, int]) -> None:
    if array.dtype != np.dtype(tensor.dtype):
        msg = f"Input {tensor.name!r} is {array.dtype}, the model takes {tensor.dtype}; nothing is cast silently."
        raise BadInputError(msg, next_step="Convert the array before the call.")
    fits = array.ndim == len(tensor.shape)
    for size, axis in zip(array.shape, tensor.shape, strict=False):
        wanted = axes.setdefault(axis, size) if isinstance(axis, str) else axis
        fits = fits and size == wanted
    if not fits:
        msg = f"Input {tensor.name!r} has shape {list(array.shape)}, the model takes {list(tensor.shape)}."
        raise BadInputError(msg)


def _check_outputs(spec: ModelSpec, outputs: Tensors, rows: int, engine: str) -> Tensors:
    checked: Tensors = {}
    for tensor in spec.outputs:
        array = outputs.get(tensor.name)
        if array is None:
            msg = f"{engine} gave outputs {sorted(outputs)}, the spec promises {tensor.name!r}."
            raise EngineError(msg)
        if array.dtype != np.dtype(tensor.dtype):
            msg = f"{engine} gave {tensor.name!r} as {array.dtype}, the spec promises {tensor.dtype}."
            raise EngineError(msg)
        fixed = [size == axis for size, axis in zip(array.shape, tensor.shape, strict=False) if isinstance(axis, int)]
        if array.ndim != len(tensor.shape) or not all(fixed) or len(array) != rows:
            msg = f"{engine} gave {tensor.name!r} of shape {list(array.shape)}, the spec promises {list(tensor.shape)}."
            raise EngineError(msg)
        checked[tensor.name] = array
    return checked
