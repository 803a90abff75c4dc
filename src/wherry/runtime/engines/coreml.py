"""Runs a CoreML package on a Mac: on its processor, or on its GPU and Neural Engine as CoreML sees fit."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from wherry.core.device import DeviceType
from wherry.runtime.interface import Engine, Tensors


class CoreMlEngine(Engine):
    """Names are those of the package, which are those of the spec. The main file is the package's `Manifest.json`.

    CoreML is a part of macOS, so nothing else runs it. Written from coremltools' documents; no Mac has run it yet.
    """

    name = "coreml"
    module = "coremltools"
    extra = "export-coreml"
    devices = ("cpu", "mps")

    _model: Any

    @classmethod
    def _unavailable(cls, device: DeviceType) -> str | None:
        del device
        return None if sys.platform == "darwin" else "CoreML runs on macOS only, and this is not a Mac."

    def _load(self, path: Path) -> None:
        import coremltools

        units = coremltools.ComputeUnit.ALL if self.options.device == "mps" else coremltools.ComputeUnit.CPU_ONLY
        self._model = coremltools.models.MLModel(str(path.parent), compute_units=units)

    def _infer(self, inputs: Tensors) -> Tensors:
        found = self._model.predict(inputs)
        return {tensor.name: np.array(found[tensor.name]) for tensor in self.spec.outputs}

    def _close(self) -> None:
        self._model = None

    def _device(self) -> str:
        return "cpu, gpu and neural engine" if self.options.device == "mps" else "cpu"

    def _effective(self) -> dict[str, object]:
        return {"threads": "chosen by CoreML"}
