"""ONNX: fp32 from the program through torch's exporter, int8 from the fp32 variant by static quantization."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from wherry.core.errors import ExportError
from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.calibration import open_calibration
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.export.onnx_adoption import adopt_onnx
from wherry.runtime import telemetry
from wherry.runtime.interface import Tensors
from wherry.runtime.preprocess import prepare
from wherry.runtime.program import open_program

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

_OPSETS = range(11, 26)
_STEP = 16  # examples at a time through the calibration, so that memory does not grow with the set


class OnnxExporter(Exporter):
    """One file with the weights inside; tensor and axis names are those of the spec.

    int8 is QDQ with symmetric int8 weights per channel and int8 activations whose ranges are the smallest and the
    largest value that the calibration set shows (MinMax).
    """

    format = "onnx"
    precisions = ("fp32", "int8")
    calibrated = ("int8",)
    options: ClassVar[Mapping[str, type]] = {"opset": int}
    engine = "onnxruntime"
    extra = "export-onnx"
    starts_from = ("pt2", "onnx")
    suffix = ".onnx"

    @classmethod
    def needs(cls, target: Target) -> str | None:
        """Return `onnx-fp32` for int8."""
        return "onnx-fp32" if target.precision == "int8" else None

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        if target.precision == "int8":
            return {"onnx": (), "onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
        return {"torch": (), "onnx": (), "onnxscript": ()}

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        del spec
        opset = target.options.get("opset")
        if opset is None:
            return None
        if target.precision == "int8":
            return "The opset of onnx-int8 is that of the onnx-fp32 variant it starts from."
        return None if opset in _OPSETS else f"The opset {opset} is not between {_OPSETS[0]} and {_OPSETS[-1]}."

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        main = out / f"model{self.suffix}"
        if target.precision == "int8":
            effective = _quantize(source, main)
        elif source.program_format == "onnx":
            effective = {"opset": adopt_onnx(source.program, target.options.get("opset"), main)}
        else:
            effective = {"opset": _convert(source, target.options.get("opset"), main)}
        _finish(main, source, target)
        effective["precision"] = target.precision
        return Written(main=main.name, batch=spec_batch(source.spec), effective=effective)


def _convert(source: Source, opset: int | None, main: Path) -> int:
    """Write the program as ONNX and return the opset it has."""
    import torch

    names = [[tensor.name for tensor in tensors] for tensors in (source.spec.inputs, source.spec.outputs)]
    program = torch.onnx.export(
        open_program(source.program),
        (),
        dynamo=True,
        input_names=names[0],
        output_names=names[1],
        opset_version=opset,
        external_data=False,
        verbose=False,
    )
    if program is None:
        msg = "torch.onnx gave no model."
        raise ExportError(msg)
    found = program.model.opset_imports[""]
    if opset is not None and found != opset:
        msg = f"The network cannot be written in opset {opset}; this torch writes it in opset {found}."
        raise ExportError(msg, next_step=f"Ask for opset {found}, or for none.")
    _name_axes(program, source.spec)
    program.save(str(main), external_data=False)
    return int(found)


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


def _quantize(source: Source, main: Path) -> dict[str, Any]:
    """Write the parent with int8 weights and activations and return the options that are in effect."""
    telemetry.silence()
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="wherry-quantize-") as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source.parent), str(prepared))
        quantize_static(
            str(prepared),
            str(main),
            _Reader(source),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
    return {
        "format": "QDQ",
        "weights": "int8 per channel",
        "activations": "int8 per tensor",
        "calibration_method": "minmax",
    }


class _Reader:
    """A few examples at a time, through the model's own preprocessing; the form that onnxruntime's calibrator reads."""

    def __init__(self, source: Source) -> None:
        self._batches = _batches(source)

    def get_next(self) -> Tensors | None:
        return next(self._batches, None)


def _batches(source: Source) -> Iterator[Tensors]:
    if source.calibration is None:
        return
    raw = open_calibration(source.calibration).raw
    fixed = spec_batch(source.spec)
    for start in range(0, len(raw), fixed or _STEP):
        piece = raw[start : start + (fixed or _STEP)]
        if fixed and len(piece) < fixed:  # one example more often changes no range
            piece = np.concatenate([piece, np.repeat(piece[-1:], fixed - len(piece), axis=0)])
        yield prepare(piece, source.spec)


def _finish(main: Path, source: Source, target: Target) -> None:
    """Write name and version into the file, and check it."""
    import onnx

    model = onnx.load(str(main))
    facts = {"model_name": source.model, "model_version": f"v{source.version}", "target": target.name}
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(main))
