"""Runs an OpenVINO IR (`.xml` with a `.bin` beside it) on the CPU, in the precision of the file."""

from pathlib import Path
from typing import Any

from wherry.core.errors import EngineError
from wherry.core.report import Execution
from wherry.runtime import telemetry
from wherry.runtime.execution import shares
from wherry.runtime.interface import Engine, Tensors

_PROPERTIES = ("INFERENCE_PRECISION_HINT", "PERFORMANCE_HINT", "INFERENCE_NUM_THREADS", "NUM_STREAMS")
_NO_WORK = ("Input", "Const", "Output", "Reorder")


class OpenVinoEngine(Engine):
    """Computes in f32 where the file says so: OpenVINO itself would take bf16 on a processor that has it."""

    name = "openvino"
    module = "openvino"
    extra = "openvino"

    _compiled: Any
    _request: Any
    _outputs: dict[str, Any]
    _settings: dict[str, object]

    def _load(self, path: Path) -> None:
        telemetry.silence()
        import openvino

        wanted: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if self.options.threads:
            wanted["INFERENCE_NUM_THREADS"] = self.options.threads
        self._compiled = openvino.Core().compile_model(str(path), "CPU", wanted)
        ports = {name: port for port in self._compiled.outputs for name in port.get_names()}
        missing = [tensor.name for tensor in self.spec.outputs if tensor.name not in ports]
        if missing:
            msg = f"{path.name} has outputs {sorted(ports)}, the spec promises {missing[0]!r}."
            raise EngineError(msg)
        self._outputs = {tensor.name: ports[tensor.name] for tensor in self.spec.outputs}
        self._settings = {key.lower(): _plain(self._compiled.get_property(key)) for key in _PROPERTIES}
        self._request = self._compiled.create_infer_request()

    def _infer(self, inputs: Tensors) -> Tensors:
        found = self._request.infer(inputs)
        return {name: found[port].copy() for name, port in self._outputs.items()}  # the request owns its memory

    def _executed(self, inputs: Tensors) -> tuple[tuple[Execution, ...], str | None]:
        """Count the compiled graph's operators by the precision that they compute in."""
        devices = ", ".join(self._compiled.get_property("EXECUTION_DEVICES"))
        facts = [_facts(operator.get_rt_info()) for operator in self._compiled.get_runtime_model().get_ordered_ops()]
        ran = [one["runtimePrecision"] for one in facts if one["layerType"] not in _NO_WORK]
        other = None if devices == "CPU" else f"it ran on {devices} instead of CPU"
        return shares(f"{devices} {precision}" for precision in ran), other

    def _close(self) -> None:
        self._request = None
        self._compiled = None
        self._outputs = {}

    def _effective(self) -> dict[str, object]:
        return {"threads": self.options.threads, **self._settings}


def _facts(info: Any) -> dict[str, str]:
    values = {key: info[key] for key in ("layerType", "runtimePrecision")}
    return {key: str(value.astype(str) if hasattr(value, "astype") else value) for key, value in values.items()}


def _plain(value: object) -> object:
    """Return a property as a JSON value: OpenVINO's types and enums by the name they have in its documents."""
    if isinstance(value, int):
        return value
    to_string = getattr(value, "to_string", None)
    return to_string() if to_string is not None else str(value).rpartition(".")[2]
