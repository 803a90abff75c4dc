"""Writes a captured program with torch's TorchScript exporter, which knows the opsets below 18.

That exporter watches one run of the network, so every size that the network asks for would be frozen into the file as
the number it had in that run. The graph is rewritten first, so that sizes stay questions; and the file is run on inputs
of another size afterwards, because a question that was overlooked shows there and nowhere else.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherry.core.errors import ExportError
from wherry.core.model import ModelSpec
from wherry.runtime import telemetry

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

_LOG = logging.getLogger(__name__)
_CHECKS = ("_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range")
_METHODS = ("view", "reshape", "expand", "repeat")
_CREATORS = ("zeros", "ones", "full", "arange")
_MODES = {"nearest1d": "nearest", "nearest2d": "nearest", "linear1d": "linear", "bilinear2d": "bilinear"}
_NEXT_STEP = "Ask for opset 18 or newer, or for none."
_TOLERANCE = 1e-3


def write_traced(opened: "ExportedProgram", spec: ModelSpec, opset: int, main: Path) -> None:
    """Write the program to `main` in that opset.

    Raises:
        torch.onnx.OnnxExporterError: an operator cannot be written in it.
        ExportError: there are no example inputs, or a size was frozen into the file.
    """
    import torch

    if opened.example_inputs is None:
        msg = "The program was captured without example inputs, which an opset below 18 needs."
        raise ExportError(msg, next_step="Register the version again, or ask for opset 18 or newer.")
    args, kwargs = opened.example_inputs
    try:
        module = _dynamic_sizes(opened.module(check_guards=False))
        _script_export(module, args, kwargs, spec=spec, opset=opset, main=main)
    except torch.onnx.errors.UnsupportedOperatorError as error:
        decomposed = _dynamic_sizes(opened.run_decompositions().module(check_guards=False))
        try:
            _script_export(decomposed, args, kwargs, spec=spec, opset=opset, main=main)
        except torch.onnx.OnnxExporterError:
            raise error from None  # the operator as the network has it, not one of its parts
    _check_other_sizes(opened, spec, main)


def _script_export(
    module: "GraphModule",
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    spec: ModelSpec,
    opset: int,
    main: Path,
) -> None:
    import torch

    tensors = (*spec.inputs, *spec.outputs)
    axes = {t.name: {i: axis for i, axis in enumerate(t.shape) if isinstance(axis, str)} for t in tensors}
    with torch.no_grad():
        torch.onnx.export(
            module,
            args,
            str(main),
            kwargs=kwargs or None,
            dynamo=False,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_axes={name: named for name, named in axes.items() if named},
            opset_version=opset,
            do_constant_folding=True,
        )


def _dynamic_sizes(module: "GraphModule") -> "GraphModule":
    """Let the tracer see where the network asks for a size; as a plain number it would be frozen into the file."""
    import torch
    import torch.fx

    graph = module.graph
    for node in [node for node in graph.nodes if node.op == "call_function"]:
        if any(name in str(node.target) for name in _CHECKS):
            graph.erase_node(node)
            continue
        with graph.inserting_before(node):
            traceable = _traceable(node)
        if traceable is not None:
            traceable.meta = dict(node.meta)
            node.replace_all_uses_with(traceable)
            graph.erase_node(node)
    graph.eliminate_dead_code()
    return torch.fx.GraphModule(module, graph).eval()  # without the hook that compares sizes, which cannot be traced


def _traceable(node: "Node") -> "Node | None":
    """Return the same call in a form that takes traced sizes, added to the graph, or None to leave it as it is."""
    import torch

    if node.target is torch.ops.aten.sym_size.int:
        return node.graph.call_method("size", node.args)
    if not any(isinstance(other.meta.get("val"), torch.SymInt) for other in node.all_input_nodes):
        return None
    namespace, _, name = str(node.target).partition(".")
    packet = name.partition(".")[0] if namespace == "aten" else ""
    if packet in _METHODS:
        return node.graph.call_method(packet, node.args)
    if packet in _CREATORS:
        kwargs = {name: value for name, value in node.kwargs.items() if name in ("dtype", "device")}
        return node.graph.call_function(getattr(torch, packet), node.args, kwargs)
    if packet == "slice":
        return node.graph.call_function(_sliced, node.args)
    mode = _MODES.get(packet.removeprefix("upsample_"))
    if mode is not None and node.args[1] is not None:
        align = {"align_corners": node.args[2]} if mode != "nearest" else {}
        kwargs = {"size": node.args[1], "mode": mode, **align}
        return node.graph.call_function(torch.nn.functional.interpolate, node.args[:1], kwargs)
    return None


def _sliced(tensor: Any, axis: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    last = None if isinstance(end, int) and end >= 2**62 else end
    return tensor[(slice(None),) * axis + (slice(start, last, step),)]


def _check_other_sizes(opened: "ExportedProgram", spec: ModelSpec, main: Path) -> None:
    """Compare file and program on the example inputs, repeated once along every dynamic axis.

    Raises:
        ExportError: they differ, as a size was frozen into the file.
    """
    import torch

    telemetry.silence()
    import onnxruntime

    if opened.example_inputs is None or not any(isinstance(axis, str) for t in spec.inputs for axis in t.shape):
        return
    examples = [*opened.example_inputs[0], *opened.example_inputs[1].values()]
    repeats = [[2 if isinstance(axis, str) else 1 for axis in tensor.shape] for tensor in spec.inputs]
    inputs = [tensor.repeat(times) for tensor, times in zip(examples, repeats, strict=True)]
    try:
        with torch.no_grad():
            wanted = opened.module()(*inputs)
    except Exception as error:  # the program itself does not take this size, so nothing was frozen by us
        _LOG.warning("other sizes were not compared: %s: %s", type(error).__name__, error)
        return
    names = [tensor.name for tensor in spec.inputs]
    try:
        session = onnxruntime.InferenceSession(str(main), providers=["CPUExecutionProvider"])
        found = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)})
    except Exception as error:
        msg = f"In this opset the network runs only on inputs of the size it was captured with: {type(error).__name__}."
        raise ExportError(msg, next_step=_NEXT_STEP) from error
    answers = [wanted] if isinstance(wanted, torch.Tensor) else list(wanted)
    for tensor, got, want in zip(spec.outputs, found, answers, strict=True):
        if got.shape != tuple(want.shape) or not np.allclose(got, want.numpy(), rtol=_TOLERANCE, atol=_TOLERANCE):
            msg = f"In this opset the output {tensor.name!r} is right only for the size the network was captured with."
            raise ExportError(msg, next_step=_NEXT_STEP)
