"""Runs a TFLite file with LiteRT on the CPU."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wherry.core.errors import EngineError
from wherry.core.model import TensorSpec
from wherry.runtime.interface import Array, Engine, Tensors
from wherry.runtime.litert_names import SIGNATURE, by_position


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

    _interpreter: Any
    _runner: Any
    _inputs: dict[str, str]
    _outputs: dict[str, str]
    _scales: "dict[str, _Scale]"
    """By the spec's name, of those that are quantized in the file and not in the spec."""

    def _load(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path), num_threads=self.options.threads or None)
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

    def _close(self) -> None:
        self._runner = None
        self._interpreter = None

    def _effective(self) -> dict[str, object]:
        quantized = sorted(self._scales)
        return {"threads": self.options.threads, "delegate": "xnnpack"} | (
            {"quantized": quantized} if quantized else {}
        )


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
