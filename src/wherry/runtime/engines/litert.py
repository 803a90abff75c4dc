"""Runs a TFLite file with LiteRT on the CPU."""

import re
from pathlib import Path
from typing import Any

from wherry.core.errors import EngineError
from wherry.core.report import Execution
from wherry.runtime.execution import shares
from wherry.runtime.interface import Engine, Tensors

_SIGNATURE = "serving_default"
_DELEGATE = "DELEGATE"
_OPERATORS = "_get_ops_details"  # the only way to see them from Python; without it the engine says nothing
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


class LiteRtEngine(Engine):
    """Names are those of the file's signature where they fit the spec; otherwise `args_0`, `output_0`… by position."""

    name = "litert"
    module = "ai_edge_litert"
    distributions = ("ai-edge-litert", "ai-edge-litert-nightly")
    extra = "litert"
    has_reference = True

    _interpreter: Any
    _runner: Any
    _inputs: dict[str, str]
    _outputs: dict[str, str]

    def _load(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if self.options.reference else OpResolverType.AUTO
        interpreter = Interpreter(
            model_path=str(path),
            num_threads=self.options.threads or None,
            experimental_op_resolver_type=kernels,
        )
        signatures = interpreter.get_signature_list()
        if _SIGNATURE not in signatures:
            msg = f"{path.name} has no signature {_SIGNATURE!r}, so its inputs and outputs have no order."
            raise EngineError(msg, next_step="Export the variant again with wherry.")
        signature = signatures[_SIGNATURE]
        self._inputs = _by_position([tensor.name for tensor in self.spec.inputs], signature["inputs"], "inputs")
        self._outputs = _by_position([tensor.name for tensor in self.spec.outputs], signature["outputs"], "outputs")
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self._runner = interpreter.get_signature_runner(_SIGNATURE)

    def _infer(self, inputs: Tensors) -> Tensors:
        found = self._runner(**{self._inputs[name]: array for name, array in inputs.items()})
        return {name: found[inside] for name, inside in self._outputs.items()}

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
        return {"threads": self.options.threads, "delegate": "none" if self.options.reference else "xnnpack"}


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


def _by_position(names: list[str], inside: list[str], what: str) -> dict[str, str]:
    """Return the signature's name for each name of the spec."""
    if len(names) != len(inside):
        msg = f"The file has {len(inside)} {what}, the spec names {len(names)}."
        raise EngineError(msg)
    if set(names) == set(inside):
        return {name: name for name in names}
    return dict(zip(names, sorted(inside, key=_position), strict=True))


def _position(name: str) -> tuple[int, str]:
    found = _LAST_NUMBER.search(name)
    return (int(found[1]) if found else -1, name)
