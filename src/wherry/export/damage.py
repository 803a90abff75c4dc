"""Which layers eight bits damage most, from one pass over a few examples.

The float network gets a switch for each layer: switched on, the layer's weights and everything it reads are rounded to
eight bits, as quantization would round them, and all other layers stay float. What that does to the network's outputs
is the layer's damage: the error's energy as a share of the output's variance, the worst output counting. One file and
one session serve all layers, so ranking a hundred layers takes a hundred short runs and not a hundred quantizations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wherry.export.onnxfile import module_of
from wherry.runtime import telemetry
from wherry.runtime.interface import Tensors

if TYPE_CHECKING:
    import onnx

_SWITCHES = "wherry_switches"
_DATA = {
    "Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 2, "Add": 2, "Mul": 2, "Sub": 2, "Div": 2, "Concat": 99,
    "Sigmoid": 1, "HardSigmoid": 1, "HardSwish": 1, "Softmax": 1, "Resize": 1, "GlobalAveragePool": 1, "AveragePool": 1,
    "ReduceMean": 1, "LeakyRelu": 1, "Gelu": 1,
}  # fmt: skip
"""Operators that are quantized, with how many of their inputs are data."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What eight bits in one layer do to the network's outputs."""

    layer: str
    """Path of the PyTorch module, or the operator's name where the file knows no module."""
    operators: tuple[str, ...]
    noise: float
    """Energy of the error over the variance of the output, the worst output's."""


def rank_layers(path: Path, batches: Sequence[Tensors], scratch: Path) -> list[Damage]:
    """Return the layers of a float ONNX file, the most damaged first.

    Args:
        path: the file, opset 13 or newer.
        batches: prepared examples; a dozen are enough to tell a layer that breaks from one that does not.
        scratch: a folder for what lies between.
    """
    telemetry.silence()
    import onnx
    import onnxruntime

    model = onnx.load(str(path))
    ranges = _ranges(model, batches, scratch / "ranges.onnx")
    layers = _Switched(model, ranges).install()
    onnx.save(model, str(scratch / "switched.onnx"))
    session = onnxruntime.InferenceSession(str(scratch / "switched.onnx"), providers=["CPUExecutionProvider"])
    names = list(layers)
    found = [_noise(session, batches, index, len(names)) for index in range(len(names))]
    damages = [Damage(name, tuple(layers[name]), noise) for name, noise in zip(names, found, strict=True)]
    return sorted(damages, key=lambda damage: -damage.noise)


def _noise(session: Any, batches: Sequence[Tensors], index: int, count: int) -> float:
    on, off = (np.zeros(count, dtype=np.bool_) for _ in range(2))
    on[index] = True
    pairs = [[session.run(None, {**batch, _SWITCHES: switches}) for switches in (on, off)] for batch in batches]
    worst = 0.0
    for output in range(len(pairs[0][0])):
        got = np.concatenate([pair[0][output].ravel() for pair in pairs]).astype(np.float64)
        want = np.concatenate([pair[1][output].ravel() for pair in pairs]).astype(np.float64)
        noise = float(np.mean((got - want) ** 2)) / max(float(np.var(want)), 1e-12)
        worst = max(worst, noise if np.isfinite(noise) else np.inf)
    return worst


def _ranges(model: "onnx.ModelProto", batches: Sequence[Tensors], path: Path) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest value of everything that the quantized operators read."""
    import onnx
    import onnxruntime

    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name for value in model.graph.input}
    made = {name for node in model.graph.node for name in node.output}
    wanted = {name for node in model.graph.node for name in _read(node) if name not in constants}
    del wide.graph.output[:]
    wide.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted & made))
    onnx.save(wide, str(path))
    found: dict[str, tuple[float, float]] = {}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = [value.name for value in session.get_outputs()]
    for batch in batches:
        values = dict(zip(outputs, session.run(outputs, batch), strict=True))
        for name, array in {**values, **{n: a for n, a in batch.items() if n in wanted & inputs}}.items():
            if array.dtype == np.float32 and array.size:
                low, high = found.get(name, (0.0, 0.0))  # zero is always in a quantized range
                found[name] = (min(low, float(array.min())), max(high, float(array.max())))
    return found


def _read(node: "onnx.NodeProto") -> list[str]:
    return [name for name in node.input[: _DATA.get(node.op_type, 0)] if name]


@dataclass(slots=True)
class _Switched:
    """Puts the switches into a graph."""

    model: "onnx.ModelProto"
    ranges: dict[str, tuple[float, float]]
    layers: dict[str, list[str]] = field(default_factory=dict)
    nodes: list["onnx.NodeProto"] = field(default_factory=list)
    rounded: set[str] = field(default_factory=set)

    def install(self) -> dict[str, list[str]]:
        """Rewrite the graph and return the operators of each layer, in the order of the switches."""
        import onnx

        weights = {t.name: t for t in self.model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
        for node in self.model.graph.node:
            data = [name for name in _read(node) if name in self.ranges]
            if not data:
                self.nodes.append(node)
                continue
            layer = module_of(node)
            self.layers.setdefault(layer, []).append(str(node.name))
            index = list(self.layers).index(layer)
            for position, name in enumerate(node.input):
                if name in data:
                    self._round(name)
                    node.input[position] = self._switch(node, position, name, f"{name}__rounded", index)
                elif position == 1 and node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and name in weights:
                    self._round_weight(weights[name])
                    node.input[position] = self._switch(node, position, name, f"{name}__rounded", index)
            self.nodes.append(node)
        del self.model.graph.node[:]
        self.model.graph.node.extend(self.nodes)
        kind = onnx.TensorProto.BOOL
        self.model.graph.input.append(onnx.helper.make_tensor_value_info(_SWITCHES, kind, [len(self.layers)]))
        return self.layers

    def _switch(self, node: "onnx.NodeProto", position: int, name: str, rounded: str, index: int) -> str:
        import onnx

        own = f"{node.name}__{position}"
        which = onnx.numpy_helper.from_array(np.array(index, dtype=np.int64), f"{own}_index")
        self.model.graph.initializer.append(which)
        self.nodes.append(onnx.helper.make_node("Gather", [_SWITCHES, which.name], [f"{own}_on"], axis=0))
        self.nodes.append(onnx.helper.make_node("Where", [f"{own}_on", rounded, name], [own]))
        return own

    def _round(self, name: str) -> None:
        """Add what rounds a tensor to unsigned eight bits, once for all of its readers."""
        import onnx

        if name in self.rounded:
            return
        self.rounded.add(name)
        low, high = self.ranges[name]
        scale = max((high - low) / 255, 1e-12)
        zero = int(np.clip(round(-low / scale), 0, 255))
        parts = {"scale": np.array(scale, dtype=np.float32), "zero": np.array(zero, dtype=np.uint8)}
        for part, array in parts.items():
            self.model.graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}__{part}"))
        extra = [f"{name}__scale", f"{name}__zero"]
        self.nodes.append(onnx.helper.make_node("QuantizeLinear", [name, *extra], [f"{name}__q"]))
        self.nodes.append(onnx.helper.make_node("DequantizeLinear", [f"{name}__q", *extra], [f"{name}__rounded"]))

    def _round_weight(self, weight: "onnx.TensorProto") -> None:
        import onnx

        if weight.name not in self.rounded:
            self.rounded.add(weight.name)
            rounded = _rounded(onnx.numpy_helper.to_array(weight))
            self.model.graph.initializer.append(onnx.numpy_helper.from_array(rounded, f"{weight.name}__rounded"))


def _rounded(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weights rounded to eight bits, symmetric, along the longest of the first two axes."""
    axis = 0 if weight.ndim != 2 or weight.shape[0] >= weight.shape[1] else 1
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.maximum(np.abs(weight).max(axis=others, keepdims=True) / 127, 1e-12)
    rounded: NDArray[np.float32] = (np.rint(weight / scale) * scale).astype(np.float32)
    return rounded
