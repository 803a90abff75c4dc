"""Runs a TFLite file with LiteRT on the CPU."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wherry.core.errors import EngineError
from wherry.core.model import TensorSpec
from wherry.core.report import Execution
from wherry.runtime.execution import shares
from wherry.runtime.interface import Array, Engine, Tensors
from wherry.runtime.litert_names import SIGNATURE, by_position

_DELEGATE = "DELEGATE"
_OPERATORS = "_get_ops_details"  # the only way to see them from Python; without it the engine says nothing


class LiteRtEngine(Engine):
    """Names are those of the file's signature where they fit the spec; otherwise `args_0`, `output_0`… by position.

    Inputs and outputs that are quantized in the file and float32 in the spec are converted here, with the scale and
    the zero point of the file (https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec):
    real = (quantized - zero point) x scale. Numbers beyond the range are cut off, as the quantized network does inside.
    """

    name = "litert"
    module = "ai_edge_litert"
    distributions = ("ai-edge-litert", "ai-edge-litert-nightly")
    extra = "litert"
    has_reference = True

    _interpreter: Any
    _runner: Any
    _inputs: dict[str, str]
    _outputs: dict[str, str]
    _scales: "dict[str, _Scale]"
    """By the spec's name, of those that are quantized in the file and not in the spec."""

    def _load(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if self.options.reference else OpResolverType.AUTO
        interpreter = Interpreter(
            model_path=str(path),
            num_threads=self.options.threads or None,
            experimental_op_resolver_type=kernels,
        )
        signatures = interpreter.get_signature_list()
        if SIGNATURE not in signatures:
            msg = f"{path.name} has no signature {SIGNATURE!r}, so its inputs and outputs have no order."
            raise EngineError(msg, next_step="Export the variant again with wherry.")
        signature = signatures[SIGNATURE]
        self._inputs = by_position([tensor.name for tensor in self.spec.inputs], signature["inputs"], "inputs")
        self._outputs = by_position([tensor.name for tensor in self.spec.outputs], signature["outputs"], "outputs")
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self._runner = interpreter.get_signature_runner(SIGNATURE)
        sides = (
            (self.spec.inputs, self._inputs, self._runner.get_input_details()),
            (self.spec.outputs, self._outputs, self._runner.get_output_details()),
        )
        found = {
            tensor.name: _scale(tensor, details[names[tensor.name]])
            for side, names, details in sides
            for tensor in side
        }
        self._scales = {name: scale for name, scale in found.items() if scale is not None}

    def _infer(self, inputs: Tensors) -> Tensors:
        given = {name: _quantized(array, self._scales.get(name)) for name, array in inputs.items()}
        found = self._runner(**{self._inputs[name]: array for name, array in given.items()})
        return {name: _real(found[inside], self._scales.get(name)) for name, inside in self._outputs.items()}

    def _executed(self, inputs: Tensors) -> tuple[tuple[Execution, ...], str | None]:
        """Count the operators that a delegate took over: those between its inputs and its outputs."""
        self._infer(inputs)  # shapes that change with the batch are delegated anew
        operators = getattr(self._interpreter, _OPERATORS)()
        taken: set[int] = set()
        for operator in operators:
            if operator["op_name"] == _DELEGATE:
                taken |= _between(operator, operators)
        plain = [operator["index"] for operator in operators if operator["op_name"] != _DELEGATE]
        return shares("XNNPACK" if index in taken else "built-in kernels" for index in plain), None

    def _close(self) -> None:
        self._runner = None
        self._interpreter = None

    def _effective(self) -> dict[str, object]:
        quantized = sorted(self._scales)
        delegate = "none" if self.options.reference else "xnnpack"
        return {"threads": self.options.threads, "delegate": delegate} | ({"quantized": quantized} if quantized else {})


def _between(delegate: dict[str, Any], operators: list[dict[str, Any]]) -> set[int]:
    """Return the operators on the ways from a delegate's inputs to its outputs."""
    makers = {tensor: one for one in operators if one["op_name"] != _DELEGATE for tensor in one["outputs"]}
    given, found, wanted = set(delegate["inputs"]), set[int](), list(delegate["outputs"])
    while wanted:
        tensor = wanted.pop()
        maker = makers.get(tensor)
        if tensor not in given and maker is not None and maker["index"] not in found:
            found.add(maker["index"])
            wanted.extend(maker["inputs"])
    return found


@dataclass(frozen=True, slots=True)
class _Scale:
    scale: float
    zero: int
    dtype: "np.dtype[Any]"


def _scale(tensor: TensorSpec, details: dict[str, Any]) -> _Scale | None:
    """Return how a tensor of the file is converted, or None where its numbers are those of the spec."""
    scale, zero = details["quantization"]
    dtype = np.dtype(details["dtype"])
    if dtype.kind not in "iu" or np.dtype(tensor.dtype) != np.float32 or not scale:
        return None
    return _Scale(float(scale), int(zero), dtype)


def _quantized(array: Array, how: _Scale | None) -> Array:
    if how is None:
        return array
    limits = np.iinfo(how.dtype)
    whole: Array = np.clip(np.rint(array.astype(np.float32) / how.scale) + how.zero, limits.min, limits.max).astype(
        how.dtype
    )
    return whole


def _real(array: Array, how: _Scale | None) -> Array:
    if how is None:
        return array
    real: Array = ((array.astype(np.float32) - np.float32(how.zero)) * np.float32(how.scale)).astype(np.float32)
    return real
