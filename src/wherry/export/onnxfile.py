"""What every ONNX file of ours has in common: the last check, the facts inside, and what can be read from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.core.errors import BadInputError
from wherry.core.variant import Target

if TYPE_CHECKING:
    import onnx

    from wherry.export.interface import Source

_SCOPES = "pkg.torch.onnx.name_scopes"
_SHOWN = 8
_FREE = frozenset({"Constant", "Identity", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How much of a graph computes in eight bits."""

    operators: int
    """Operators that compute; constants and conversions are not counted."""
    eight_bit: int
    """Those whose data inputs are all eight-bit."""

    @property
    def part(self) -> float:
        """The share, 0 to 1."""
        return self.eight_bit / self.operators if self.operators else 0.0


def finish(main: Path, source: "Source", target: Target) -> int:
    """Write name and version into the file, name operators that have no name, check it, and return its opset.

    Raises:
        onnx.checker.ValidationError: it is no valid ONNX file.
    """
    import onnx

    model = onnx.load(str(main))
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"  # quantization leaves operators out by their names
    facts = {"model_name": source.model, "model_version": f"v{source.version}", "target": target.name}
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(main))
    return opset_of(model)


def opset_of(model: "onnx.ModelProto") -> int:
    """Return the version of ONNX's own operators in the file."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def module_of(node: "onnx.NodeProto") -> str:
    """Return the path of the PyTorch module that the operator came from, or the operator's name.

    Source: the name of its weight, which torch's exporters keep; else the node metadata that the exporter for captured
    programs writes, a list of scopes such as `['', 'layer1', 'layer1.0', 'conv']`, of which the last is the operator.
    """
    for name in node.input[1:2]:
        if name.endswith(".weight"):
            return str(name).removesuffix(".weight")
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = [part.strip().strip("'\"") for part in entry.value.strip("[]").split(",")]
            if len(scopes) > 2 and scopes[-2]:
                return str(scopes[-2])
    return str(node.name)


def named_nodes(path: Path, names: Sequence[str]) -> list[str]:
    """Return the names of the operators that belong to these modules or have these names themselves.

    Args:
        path: an ONNX file.
        names: modules, which bring those inside of them, or operators.

    Raises:
        BadInputError: a name is neither.
    """
    import onnx

    nodes = [(str(node.name), module_of(node)) for node in onnx.load(str(path)).graph.node] if names else []
    found: set[str] = set()
    for name in names:
        hits = {node for node, module in nodes if name in (node, module) or module.startswith(f"{name}.")}
        if not hits:
            known = ", ".join(sorted({module for _, module in nodes})[:_SHOWN])
            msg = f"The network has no module or operator {name!r} to leave in float."
            raise BadInputError(msg, next_step=f"Some that it has: {known}.")
        found |= hits
    return sorted(found)


def operators_of(model: "onnx.ModelProto") -> list["onnx.NodeProto"]:
    """Return the operators that compute something."""
    return [node for node in model.graph.node if node.op_type not in _FREE]


def eight_bit_share(path: Path) -> Share:
    """Return which share of a file's operators gets all of its data from eight-bit tensors."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    operators = operators_of(model)
    eight = 0
    for node in operators:
        data = [name for name in node.input if name and name not in constants]
        eight += bool(data) and all(name in dequantized for name in data)
    return Share(operators=len(operators), eight_bit=eight)
