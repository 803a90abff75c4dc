"""What eight bits will probably damage, said before time is spent on it.

Two kinds of signs: what the graph is made of, and what a few examples do in it. A finding is a warning and never a
refusal; whether it matters is for accuracy control and the proof to say.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wherry.core.model import ModelSpec
from wherry.export.calibration_batches import prepared_batches
from wherry.export.onnxfile import module_of
from wherry.runtime import telemetry
from wherry.runtime.interface import Tensors

if TYPE_CHECKING:
    import onnx

LINT = "wherry.export.lint:lint_file"
EXAMPLES = 8
"""Examples that are run."""
_WIDE = 20.0  # times the 99th percentile: eight bits leave 13 steps for 99 % of the values
_MIXED = 16.0  # times another input's range: four of its eight bits are gone
_SPREAD = 64.0  # times another channel's weights: with one scale for all, six of its eight bits are gone
_SHOWN = 4
_NEAR = 6  # operators between pooling and gate in a squeeze-and-excitation block
_GATES = ("Sigmoid", "HardSigmoid")
_POOLS = ("GlobalAveragePool", "ReduceMean", "AveragePool")
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sign of trouble."""

    kind: str
    modules: tuple[str, ...]
    """Paths of PyTorch modules, or operators' names where the file knows no modules."""
    why: str
    advice: str

    def __str__(self) -> str:
        """Return one line for people."""
        shown = ", ".join(self.modules[:_SHOWN])
        more = f" and {len(self.modules) - _SHOWN} more" if len(self.modules) > _SHOWN else ""
        return f"{self.kind} in {shown}{more}: {self.why} {self.advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LintJob:
    """What a child process is given."""

    path: str
    """A float ONNX file."""
    spec: ModelSpec
    calibration: str | None = None
    """A calibration set; without one only the graph is looked at."""


def lint_file(job: LintJob) -> list[Finding]:
    """Return the findings about a file.

    Raises:
        BadInputError: the calibration set does not fit.
    """
    calibration = None if job.calibration is None else Path(job.calibration)
    return lint(Path(job.path), list(prepared_batches(calibration, job.spec, most=EXAMPLES)))


def lint(path: Path, batches: Sequence[Tensors]) -> list[Finding]:
    """Return what eight bits will probably damage in a float ONNX file.

    Args:
        path: the file.
        batches: a few prepared examples; without any only the graph is looked at.
    """
    import onnx

    graph = _Graph(onnx.shape_inference.infer_shapes(onnx.load(str(path))))
    if batches:
        graph.observe(batches, path)
    checks: Sequence[Callable[[_Graph], Iterator[Finding]]] = (_silu, _gates, _depthwise, _last, _concats, _wide)
    return [finding for check in checks for finding in check(graph)]


@dataclass(slots=True)
class _Graph:
    """A graph with what is needed to walk it."""

    model: "onnx.ModelProto"
    producer: dict[str, "onnx.NodeProto"] = field(default_factory=dict)
    weights: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)
    usual: dict[str, float] = field(default_factory=dict)
    """99th percentile of the magnitudes."""

    def __post_init__(self) -> None:
        import onnx

        self.producer = {name: node for node in self.model.graph.node for name in node.output}
        stored = [tensor for tensor in self.model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
        self.weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in stored}

    def of_type(self, *types: str) -> list["onnx.NodeProto"]:
        return [node for node in self.model.graph.node if node.op_type in types]

    def pooled(self, name: str, steps: int = _NEAR) -> bool:
        """Return whether the tensor comes from a pooling a few operators before."""
        node = self.producer.get(name)
        if node is None or steps == 0:
            return False
        return node.op_type in _POOLS or self.pooled(node.input[0], steps - 1)

    def observe(self, batches: Sequence[Tensors], path: Path) -> None:
        """Run the examples and keep how large the tensors become that weighted operators and concatenations read."""
        telemetry.silence()
        import onnx
        import onnxruntime

        nodes = self.of_type(*_WEIGHTED, "Concat")
        wanted = sorted({name for node in nodes for name in node.input if name in self.producer})
        wide = onnx.load(str(path))
        del wide.graph.output[:]
        wide.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        session = onnxruntime.InferenceSession(wide.SerializeToString(), providers=["CPUExecutionProvider"])
        for batch in batches:
            for name, array in zip(wanted, session.run(wanted, batch) if wanted else (), strict=True):
                if array.dtype == np.float32 and array.size:
                    magnitudes = np.abs(array)
                    self.largest[name] = max(self.largest.get(name, 0.0), float(magnitudes.max()))
                    self.usual[name] = max(self.usual.get(name, 0.0), float(np.percentile(magnitudes, 99)))


def _modules(nodes: Sequence["onnx.NodeProto"]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(module_of(node) for node in nodes))


def _silu(graph: _Graph) -> Iterator[Finding]:
    sigmoids = {node.output[0]: node.input[0] for node in graph.of_type("Sigmoid")}
    found = [node for node in graph.of_type("Mul") if any(sigmoids.get(name) in node.input for name in node.input)]
    if found:
        yield Finding(
            kind="SiLU",
            modules=_modules(found),
            why="a sigmoid and a product of one tensor each get their own range, and small negative answers are lost.",
            advice="Use real calibration examples and --max-drop; ReLU or hard-swish keep more when training again.",
        )


def _gates(graph: _Graph) -> Iterator[Finding]:
    gates = {node.output[0] for node in graph.of_type(*_GATES) if graph.pooled(node.input[0])}
    found = [node for node in graph.of_type("Mul") if any(name in gates for name in node.input)]
    if found:
        yield Finding(
            kind="Squeeze-and-excitation",
            modules=_modules(found),
            why="a gate that was pooled over the picture scales whole channels, so its rounding error does too.",
            advice="Leave the gates in float with --option exclude=MODULE if accuracy drops.",
        )


def _depthwise(graph: _Graph) -> Iterator[Finding]:
    found = []
    for node in graph.of_type("Conv"):
        weight = graph.weights.get(node.input[1])
        group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        if weight is None or group == 1 or group != weight.shape[0]:
            continue
        channels = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        if channels.max() > _SPREAD * max(float(np.median(channels)), 1e-12):
            found.append(node)
    if found:
        yield Finding(
            kind="Uneven depthwise weights",
            modules=_modules(found),
            why=f"one channel's weights are over {_SPREAD:.0f} times as large as the others'.",
            advice="Keep weights per channel, as wherry does; a target with one scale for each tensor will lose them.",
        )


def _last(graph: _Graph) -> Iterator[Finding]:
    sizes = {value.name: _size(value) for value in (*graph.model.graph.input, *graph.model.graph.output)}
    full = {sizes[value.name] for value in graph.model.graph.input} - {()}
    names = [value.name for value in graph.model.graph.output if sizes[value.name] in full]
    found = [node for name in names if (node := graph.producer.get(name)) is not None]
    if found:
        yield Finding(
            kind="Output at full resolution",
            modules=_modules(found),
            why="the rounding of the last layer goes into every pixel, and nothing after it evens that out.",
            advice="Leave it in float with --option exclude=MODULE; it costs little.",
        )


def _size(value: "onnx.ValueInfoProto") -> tuple[str, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(str(dim.dim_param or dim.dim_value) for dim in dims[2:]) if len(dims) == 4 else ()


def _concats(graph: _Graph) -> Iterator[Finding]:
    for node in graph.of_type("Concat"):
        ranges = [graph.largest[name] for name in node.input if graph.largest.get(name, 0.0) > 0]
        if len(ranges) > 1 and max(ranges) > _MIXED * min(ranges):
            yield Finding(
                kind="Mixed ranges in one tensor",
                modules=_modules([node]),
                why=f"values up to {min(ranges):.3g} lie beside values up to {max(ranges):.3g} under one scale.",
                advice="Make them separate outputs, bring them to one range, or leave the module in float.",
            )


def _wide(graph: _Graph) -> Iterator[Finding]:
    for node in graph.of_type(*_WEIGHTED):
        name = node.input[0]
        largest, usual = graph.largest.get(name, 0.0), graph.usual.get(name, 0.0)
        if largest > _WIDE * max(usual, 1e-12) and usual > 0:
            yield Finding(
                kind="Wide range",
                modules=_modules([node]),
                why=f"it reads values up to {largest:.3g}, and 99 % of them are below {usual:.3g}.",
                advice="Try --option calibration_method=percentile, or leave the module in float.",
            )
