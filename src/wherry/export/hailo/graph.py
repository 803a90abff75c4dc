"""Where a network is cut for Hailo, found by walking the ONNX graph back from its outputs; no layer is named here.

A detection head decodes boxes with operators that the chip has no use for. The walk goes back from the outputs to the
last convolutions of each scale, tells regression, classes and mask coefficients apart by their channels, and leaves
the decoding to the host. Any other network is cut at what computes its outputs.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec

Role = Literal["boxes", "scores", "coefficients", "prototypes", "output"]

_SAME_NUMBERS = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout"})
_REORDERS = _SAME_NUMBERS | {"Transpose", "Concat", "Split", "Slice"}


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One node at which the network is cut."""

    node: str
    """Name of the ONNX node."""
    tensor: str
    """Name of what the node computes."""
    role: Role
    output: str
    """The output of the model spec that it belongs to."""
    shape: tuple[int, ...]
    """As in ONNX, channels on axis 1, for a batch of one."""
    stride: int | None = None
    """Pixels of the input for one cell, for boxes, scores and coefficients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """What the plan needs to know about a network."""

    input: str
    input_shape: tuple[int, ...]
    """For a batch of one."""
    start: str
    """Node or input at which the compiler starts."""
    channels_last: bool
    """Whether the network's first act is to turn a channels-last sequence, which is left out."""
    ends: tuple[End, ...]
    regression: int | None
    """Bins of the distribution that stands for each side of a box, or None without boxes."""
    opset: int


def graph_facts(model: Any, spec: ModelSpec) -> GraphFacts:
    """Return where a network is cut.

    Args:
        model: an ONNX model with fixed shapes, a shape for every value and a name for every node.
        spec: the model spec; its outputs are those of the graph.

    Raises:
        BadInputError: the spec says detection, and the graph has no head of the YOLO kind.
    """
    walk = _Walk(model)
    tensor = spec.inputs[0].name
    shape = walk.shape(tensor)
    start, turned = walk.start(tensor)
    ends = _detection(walk, spec, shape) if spec.task == "detection" else _plain(walk, spec)
    boxes = next((end for end in ends if end.role == "boxes"), None)
    return GraphFacts(
        input=tensor,
        input_shape=shape,
        start=start,
        channels_last=turned,
        ends=ends,
        regression=None if boxes is None else boxes.shape[1] // 4,
        opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
    )


class _Walk:
    """An ONNX graph by producers and consumers."""

    def __init__(self, model: Any) -> None:
        graph = model.graph
        self._producer = {name: node for node in graph.node for name in node.output}
        self._consumers: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._consumers[name].append(node)
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._shapes = {
            value.name: tuple(int(axis.dim_value) for axis in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info, *graph.output)
        }

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of a value."""
        found = self._shapes.get(tensor)
        if found is None or 0 in found:
            msg = f"The shape of {tensor!r} is not known, and Hailo takes fixed shapes only."
            raise BadInputError(msg, next_step="Register a network whose axes but the batch are fixed.")
        return found

    def start(self, tensor: str) -> tuple[str, bool]:
        """Return where the compiler starts, and whether a turn of a sequence was left out."""
        consumers = self._consumers[tensor]
        if len(self.shape(tensor)) == 3 and len(consumers) == 1 and consumers[0].op_type == "Transpose":
            turned = consumers[0].output[0]
            following = self._consumers[turned]
            if _permutation(consumers[0]) == (0, 2, 1) and len(following) == 1:
                return str(following[0].name), True
        return tensor, False

    def computing(self, tensor: str) -> Any:
        """Return the node that computes a value, behind those that only give it another shape."""
        node = self._producer[tensor]
        while node.op_type in _SAME_NUMBERS and node.input[0] in self._producer:
            node = self._producer[node.input[0]]
        return node

    def last_convolutions(self, tensors: Iterable[str]) -> list[Any]:
        """Return the convolutions with learned weights that are reached first on the way back from the values."""
        found: dict[str, Any] = {}
        waiting, seen = list(tensors), set[str]()
        while waiting:
            node = self._producer.get(waiting.pop(0))
            if node is None or node.output[0] in seen:
                continue
            seen.add(node.output[0])
            if node.op_type == "Conv" and not self._expectation(node):
                found[node.output[0]] = node
            else:
                waiting.extend(node.input)
        return list(found.values())

    def leads_to(self, tensor: str) -> frozenset[str]:
        """Return the operators that a value's first channel reaches through nothing but changes of shape and order."""
        found, waiting = set[str](), [(tensor, 0)]
        while waiting:
            name, channel = waiting.pop()
            for node in self._consumers[name]:
                if node.op_type in _REORDERS:
                    waiting.extend(self._onwards(node, name, channel))
                else:
                    found.add(node.op_type)
        return frozenset(found)

    def _onwards(self, node: Any, name: str, channel: int) -> list[tuple[str, int]]:
        """Return where a channel of a value is behind a node, with its new number on axis 1."""
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        if node.op_type == "Concat" and axis == 1:
            before = list(node.input)[: list(node.input).index(name)]
            return [(node.output[0], channel + sum(self.shape(other)[1] for other in before))]
        if node.op_type == "Split" and axis == 1:
            for output in node.output:
                width = self.shape(output)[1]
                if channel < width:
                    return [(output, channel)]
                channel -= width
        return [(output, channel) for output in node.output]

    def _expectation(self, node: Any) -> bool:
        """Return whether a convolution is the mean of a distribution: fixed weights 0, 1, 2… and one channel."""
        from onnx import numpy_helper

        weights = self._weights.get(node.input[1])
        if weights is None or weights.dims[0] != 1:
            return False
        values = numpy_helper.to_array(weights).ravel().tolist()
        return bool(values == list(range(len(values))))


def _permutation(node: Any) -> tuple[int, ...]:
    return next((tuple(attribute.ints) for attribute in node.attribute if attribute.name == "perm"), ())


def _plain(walk: _Walk, spec: ModelSpec) -> tuple[End, ...]:
    ends = []
    for tensor in spec.outputs:
        node = walk.computing(tensor.name)
        inside = str(node.output[0])
        ends.append(End(node=node.name, tensor=inside, role="output", output=tensor.name, shape=walk.shape(inside)))
    return tuple(ends)


def _detection(walk: _Walk, spec: ModelSpec, image: Sequence[int]) -> tuple[End, ...]:
    names = [tensor.name for tensor in spec.outputs]
    widths = {name: walk.shape(name)[1] for name in names}
    by_size: dict[tuple[int, ...], list[Any]] = defaultdict(list)
    for node in walk.last_convolutions(names[:3]):
        by_size[walk.shape(node.output[0])[2:]].append(node)
    ends: list[End] = []
    for size, nodes in sorted(by_size.items(), reverse=True):
        stride = image[2] // size[0]
        roles = _roles(walk, nodes, names, widths)
        order: tuple[Role, ...] = ("boxes", "scores", "coefficients")
        for role, output in zip(order, names, strict=False):
            node = roles.get(role)
            if node is None:
                msg = f"At a stride of {stride} the network has no last convolution for {output!r}."
                raise BadInputError(
                    msg, next_step="Export a YOLO network with its decoded head, or choose another task."
                )
            made = str(node.output[0])
            ends.append(
                End(node=node.name, tensor=made, role=role, output=output, shape=walk.shape(made), stride=stride)
            )
    if len(names) > 3:
        node = walk.computing(names[3])
        made = str(node.output[0])
        ends.append(End(node=node.name, tensor=made, role="prototypes", output=names[3], shape=walk.shape(made)))
    return tuple(ends)


def _roles(walk: _Walk, nodes: Sequence[Any], names: Sequence[str], widths: Mapping[str, int]) -> dict[Role, Any]:
    """Tell the convolutions of one scale apart: by channels, and where those are equal by what follows."""
    roles: dict[Role, Any] = {}
    rest = list(nodes)

    def take(role: Role, width: int | None, follower: str) -> None:
        fitting = [node for node in rest if width is None or walk.shape(node.output[0])[1] == width]
        if width is None:
            fitting = [node for node in fitting if walk.shape(node.output[0])[1] % 4 == 0]
        if len(fitting) > 1:
            fitting = [node for node in fitting if follower in walk.leads_to(node.output[0])] or fitting
        if fitting:
            roles[role] = fitting[0]
            rest.remove(fitting[0])

    take("scores", widths[names[1]], "Sigmoid")
    if len(names) > 2:
        take("coefficients", widths[names[2]], "")
    take("boxes", None, "Softmax")
    return roles
