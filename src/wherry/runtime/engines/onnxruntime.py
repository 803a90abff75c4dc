"""Runs an ONNX file with ONNX Runtime, on the CPU, a CUDA GPU or through CoreML."""

import json
import tempfile
from pathlib import Path
from typing import Any

from wherry.core.device import DeviceType
from wherry.core.errors import EngineError
from wherry.core.report import Execution
from wherry.runtime import telemetry
from wherry.runtime.execution import fallback, shares
from wherry.runtime.interface import Engine, Tensors

_PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}


class OnnxRuntimeEngine(Engine):
    """Names are those of the file's graph, which are those of the spec.

    The provider that was asked for is really there, or the engine does not open: ONNX Runtime itself would fall back
    to the CPU with no more than a log line. Single operators may still run on the CPU beside an accelerator.
    """

    name = "onnxruntime"
    module = "onnxruntime"
    distributions = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-silicon", "onnxruntime-openvino", "ort-nightly")
    extra = "onnxruntime"
    devices = ("cpu", "gpu", "mps")
    has_reference = True

    _session: Any
    _path: Path
    _names: list[str]

    @classmethod
    def _unavailable(cls, device: DeviceType) -> str | None:
        if device == "cpu":
            return None
        telemetry.silence()
        import onnxruntime

        if _PROVIDERS[device] not in onnxruntime.get_available_providers():
            return f"This ONNX Runtime was built without {_PROVIDERS[device]}."
        return None

    def _load(self, path: Path) -> None:
        telemetry.silence()
        import onnxruntime

        provider = _PROVIDERS[self.options.device]
        if self.options.device == "gpu" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
        self._path = path
        self._session = onnxruntime.InferenceSession(str(path), self._settings(), providers=[provider])
        active = self._session.get_providers()
        if active[0] != provider:
            msg = f"ONNX Runtime did not start {provider}; it would have run on {active[0]} instead."
            raise EngineError(msg, next_step="Install the provider's libraries, or run on the CPU on purpose.")
        self._names = [tensor.name for tensor in self.spec.outputs]

    def _settings(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.options.threads
        if self.options.reference:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Spinning threads take the processor from everything else on a device, and gain little for one session.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def _executed(self, inputs: Tensors) -> tuple[tuple[Execution, ...], str | None]:
        """Count the operators in the profile of one run; profiling can only be chosen when a session is made."""
        import onnxruntime

        wanted = _PROVIDERS[self.options.device]
        with tempfile.TemporaryDirectory(prefix="wherry-profile-") as folder:
            options = self._settings()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "run")
            session = onnxruntime.InferenceSession(str(self._path), options, providers=[wanted])
            session.run(self._names, inputs)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        facts = [event.get("args", {}) for event in events if event.get("cat") == "Node"]
        ran = [(str(one["provider"]), str(one.get("op_name", ""))) for one in facts if one.get("provider")]
        return shares(provider for provider, _ in ran), fallback(wanted, ran)

    def _infer(self, inputs: Tensors) -> Tensors:
        return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))

    def _close(self) -> None:
        self._session = None

    def _device(self) -> str:
        return {"cpu": "cpu", "gpu": "cuda:0", "mps": "coreml"}[self.options.device]

    def _effective(self) -> dict[str, object]:
        provider = _PROVIDERS[self.options.device]
        level = "none" if self.options.reference else "all"
        return {"threads": self.options.threads, "provider": provider, "allow_spinning": False, "optimisations": level}
