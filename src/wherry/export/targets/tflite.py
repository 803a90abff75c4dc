"""TFLite: fp32 from the program through litert-torch, the other precisions from that file through ai-edge-quantizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.fixed import CalibrationSlices, batch_overrides, fixed_batch, refuses_shapes, zeros
from wherry.export.interface import Exporter, Source, Written
from wherry.runtime.litert_names import SIGNATURE, by_position
from wherry.runtime.program import open_program

_DONE = {
    "fp16": {"weights": "float16, widened when the file is opened", "activations": "float32"},
    "int8": {"weights": "int8 per channel", "activations": "int8 per tensor", "calibration_method": "minmax"},
    "int8-dynamic": {"weights": "int8 per channel", "activations": "int8, ranges found while it runs"},
    "int8-weights": {"weights": "int8 per channel, widened when the file is opened", "activations": "float32"},
}


class TfliteExporter(Exporter):
    """Shapes are fixed; a dynamic batch becomes the option `batch`, or 1, which the engine runs row by row.

    int8 has float32 inputs and outputs, with the conversion inside the file, unless `quantized_io` asks for a file
    whose inputs and outputs are int8 themselves, as microcontrollers and NPUs want it; the engine then converts.
    """

    format = "tflite"
    precisions = ("fp32", "fp16", "int8", "int8-dynamic", "int8-weights")
    calibrated = ("int8",)
    options: ClassVar[Mapping[str, type]] = {"batch": int, "quantized_io": bool}
    engine = "litert"
    extra = "export-tflite"
    suffix = ".tflite"

    @classmethod
    def needs(cls, target: Target) -> str | None:
        """Return `tflite-fp32` for everything else."""
        return None if target.precision == "fp32" else "tflite-fp32"

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        if target.precision == "fp32":
            return {"torch": (), "litert_torch": ("litert-torch",)}
        return {
            "ai_edge_quantizer": ("ai-edge-quantizer", "ai-edge-quantizer-nightly"),
            "ai_edge_litert": ("ai-edge-litert", "ai-edge-litert-nightly"),
        }

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        if target.precision != "fp32" and "batch" in target.options:
            return f"The batch of {target.name} is that of the tflite-fp32 variant it starts from."
        if target.precision != "int8" and target.options.get("quantized_io"):
            return f"Only tflite-int8 can have quantized inputs and outputs, and this is {target.name}."
        return refuses_shapes(target, spec)

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        main = out / f"model{self.suffix}"
        if target.precision == "fp32":
            batch = fixed_batch(target, source.spec)
            _convert(source, batch, main)
            done: dict[str, Any] = {}
        else:
            batch, done = _quantize(source, target, main)
        effective = {"precision": target.precision, "batch": batch, **done}
        # A variant of another precision has the batch that somebody asked of its parent, or that nobody asked for.
        overrides = batch_overrides(target, source.spec, "as TFLite files have fixed shapes") if batch == 1 else ()
        return Written(main=main.name, batch=batch, effective=effective, overrides=overrides)


def _convert(source: Source, batch: int, main: Path) -> None:
    import litert_torch

    model = litert_torch.convert(open_program(source.program).module(), zeros(source.spec, batch))
    model.export(str(main))


def _quantize(source: Source, target: Target, main: Path) -> tuple[int, dict[str, Any]]:
    """Write the parent in another precision and return its batch and what was done."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer

    content = Path(str(source.parent)).read_bytes()
    runner = Interpreter(model_content=content).get_signature_runner(SIGNATURE)
    inside = by_position([tensor.name for tensor in source.spec.inputs], list(runner.get_input_details()), "inputs")
    batch = int(runner.get_input_details()[inside[source.spec.inputs[0].name]]["shape"][0])
    quantized_io = target.options.get("quantized_io", False)
    recipe = _recipe(target.precision, quantized_io=quantized_io)
    ranges = None
    if source.calibration is not None and target.precision == "int8":
        slices = CalibrationSlices(source.calibration, source.spec, batch)
        ranges = _ranges(content, recipe, slices, inside)
    work = quantizer.Quantizer(content, recipe.get_quantization_recipe())
    main.write_bytes(work.quantize(ranges).quantized_model)
    _check_changed(content, main, target)
    effective: dict[str, Any] = dict(_DONE[target.precision])
    return batch, {**effective, "quantized_io": quantized_io} if target.precision == "int8" else effective


def _recipe(precision: str, *, quantized_io: bool) -> Any:
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe, every = RecipeManager(), qtyping.TFLOperationName.ALL_SUPPORTED
    if precision == "fp16":
        recipe.add_weight_only_config(".*", every, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING)
    elif precision == "int8-weights":
        recipe.add_weight_only_config(".*", every, num_bits=8)
    elif precision == "int8-dynamic":
        recipe.add_dynamic_config(".*", every, num_bits=8)
    else:
        recipe.add_static_config(".*", every, activation_num_bits=8, weight_num_bits=8)
        for edge in () if quantized_io else (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            recipe.add_quantization_config(".*", edge, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return recipe


def _ranges(content: bytes, recipe: Any, slices: CalibrationSlices, inside: dict[str, str]) -> Any:
    """Return the smallest and largest value of each tensor over the whole set, a slice at a time.

    The quantizer's own way takes a moving average of them, which cuts off what later examples show, and makes a list
    of the whole set in memory.
    """
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    calibrator = Calibrator(content, num_threads=1, qsv_update_func=min_max_update)
    for piece in slices:
        named = {inside[name]: array for name, array in piece.items()}
        calibrator.calibrate({SIGNATURE: [named]}, recipe)
    return calibrator.get_model_qsvs()


def _check_changed(content: bytes, main: Path, target: Target) -> None:
    if main.read_bytes() == content:
        msg = f"The quantizer found nothing in this network that {target.name} could change."
        raise BadInputError(msg, next_step="Use tflite-fp32.")
