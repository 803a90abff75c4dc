"""Writes a program as ONNX in a chosen opset.

torch has two exporters. The one for captured programs writes opset 18 and newer; its converter to older ones leaves
newer operators in the file. So an older opset is written by the TorchScript exporter, which chooses the operators for
that opset itself. Whichever wrote it, the opset is read back from the file.
"""

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.core.errors import ExportError
from wherry.core.model import ModelSpec
from wherry.export.onnxfile import opset_of
from wherry.export.onnxtracing import write_traced
from wherry.runtime.program import open_program

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.onnx import ONNXProgram

_LOG = logging.getLogger(__name__)
OPSETS = range(11, 26)
FIRST_CAPTURED = 18
"""The oldest opset that torch writes from a captured program."""
_OPERATOR = re.compile(r"operator '?([\w.]+::[\w.]+)'?")


def write_onnx(program: Path, spec: ModelSpec, opset: int | None, main: Path) -> dict[str, Any]:
    """Write the program to `main` and return the opset that the file has and which exporter wrote it.

    Tensor and axis names are those of the spec; constants are folded; weights are inside.

    Args:
        program: a `.pt2` file.
        spec: names of tensors and of dynamic axes.
        opset: 11 to the newest, or None for torch's own choice.
        main: the file to write.

    Raises:
        ExportError: an operator cannot be written in that opset; the smallest that works is in the next step.
    """
    opened = open_program(program)
    if opset is None or opset >= FIRST_CAPTURED:
        found, exporter = _write_captured(opened, spec, opset, main), "torch.onnx (captured program)"
    else:
        found, exporter = _write_older(opened, spec, opset, main), "torch.onnx (TorchScript)"
    if opset is not None and found != opset:
        msg = f"The network cannot be written in opset {opset}; this torch writes it in opset {found}."
        raise ExportError(msg, next_step=f"Ask for opset {found}, or for none.")
    return {"opset": found, "exporter": exporter}


def _write_captured(opened: "ExportedProgram", spec: ModelSpec, opset: int | None, main: Path) -> int:
    import torch

    program = torch.onnx.export(
        opened,
        (),
        dynamo=True,
        input_names=[tensor.name for tensor in spec.inputs],
        output_names=[tensor.name for tensor in spec.outputs],
        opset_version=opset,
        external_data=False,
        verbose=False,
    )
    if program is None:
        msg = "torch.onnx gave no model."
        raise ExportError(msg)
    _name_axes(program, spec)
    program.save(str(main), external_data=False)
    return int(program.model.opset_imports[""])


def _name_axes(program: "ONNXProgram", spec: ModelSpec) -> None:
    """Give the dynamic axes the names of the spec, wherever they stand in the graph."""
    import onnx_ir

    graph = program.model.graph
    names: dict[str, str] = {}
    for value, tensor in zip((*graph.inputs, *graph.outputs), (*spec.inputs, *spec.outputs), strict=True):
        for size, axis in zip(value.shape or (), tensor.shape, strict=False):
            if isinstance(size, onnx_ir.SymbolicDim) and isinstance(axis, str) and size.value is not None:
                names.setdefault(str(size.value), axis)
    values = [*graph.inputs, *graph.outputs, *(value for node in graph for value in node.outputs)]
    for shape in {id(value.shape): value.shape for value in values if value.shape is not None}.values():
        for index, size in enumerate(shape):
            if isinstance(size, onnx_ir.SymbolicDim) and str(size.value) in names:
                shape[index] = names[str(size.value)]


def _write_older(opened: "ExportedProgram", spec: ModelSpec, opset: int, main: Path) -> int:
    import onnx
    import torch

    try:
        write_traced(opened, spec, opset, main)
    except torch.onnx.OnnxExporterError as error:
        operator = _operator(error)
        smallest = _smallest(opened, spec, opset, main)
        main.unlink(missing_ok=True)
        msg = f"Opset {opset} is too old for this network: it has no way to write {operator}."
        step = f"Ask for opset {smallest}, the smallest that works, or for none." if smallest else "Ask for no opset."
        raise ExportError(msg, next_step=step) from error
    _fold(main, spec)
    return opset_of(onnx.load(str(main)))


def _operator(error: Exception) -> str:
    found = _OPERATOR.search(str(error))
    return f"the operator {found[1]}" if found else f"one of its operators ({str(error).splitlines()[0][:200]})"


def _smallest(opened: "ExportedProgram", spec: ModelSpec, opset: int, main: Path) -> int | None:
    """Return the smallest newer opset in which the network can be written, by trying."""
    for newer in range(opset + 1, OPSETS[-1] + 1):
        try:
            if newer < FIRST_CAPTURED:
                write_traced(opened, spec, newer, main)
                return newer
            return _write_captured(opened, spec, newer, main)
        except Exception as error:  # whatever it is, this opset does not work
            _LOG.warning("opset %d does not work: %s", newer, type(error).__name__)
    return None


def _fold(main: Path, spec: ModelSpec) -> None:
    """Fold constants, and batch normalisation into the convolution or layer before it; say the outputs' shapes."""
    import onnx_ir
    from onnxscript import optimizer
    from onnxscript.rewriter import rewrite
    from onnxscript.rewriter.rules.common import fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_gemm_rule

    model = onnx_ir.load(main)
    optimizer.optimize(model)
    rules = [fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_gemm_rule]
    folded = rewrite(model, pattern_rewrite_rules=rules)
    for value, tensor in zip(folded.graph.outputs, spec.outputs, strict=True):
        value.shape = onnx_ir.Shape(tensor.shape)
    onnx_ir.save(folded, main)
