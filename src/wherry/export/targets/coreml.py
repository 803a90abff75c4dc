"""CoreML: the program as an ML program for macOS and iOS. It is made anywhere and run on a Mac only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.fixed import batch_overrides, fixed_batch, fixed_program, refuses_shapes
from wherry.export.interface import Exporter, Source, Written

PACKAGE = "model.mlpackage"
_SMALLEST = 256
"""Numbers in a weight below which it stays float32: the scales would take what eight bits save."""
_DEBUG = "executorch_debug_handle_mapping.json"  # left in the package by coremltools; nothing reads it


class CoreMlExporter(Exporter):
    """A folder `model.mlpackage`; its `Manifest.json` stands for the main file. Needs iOS 16 or macOS 13.

    Shapes are fixed, which the Neural Engine needs: a dynamic batch becomes the option `batch`, or 1. fp16 computes in
    half precision between float32 inputs and outputs; int8-weights stores them in eight bits and computes in float32.
    """

    format = "coreml"
    precisions = ("fp32", "fp16", "int8-weights")
    options: ClassVar[Mapping[str, type]] = {"batch": int}
    engine = "coreml"
    extra = "export-coreml"
    suffix = ".mlpackage/Manifest.json"

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        del target
        return {"torch": (), "coremltools": ()}

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        odd = [tensor for tensor in spec.inputs if tensor.dtype not in ("float32", "int32")]
        if odd:
            return f"CoreML has no inputs of {odd[0].dtype}, and {odd[0].name!r} is one."
        return refuses_shapes(target, spec)

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        import coremltools

        batch, half = fixed_batch(target, source.spec), target.precision == "fp16"
        model = coremltools.convert(
            fixed_program(source, batch).run_decompositions({}),
            convert_to="mlprogram",
            outputs=[
                coremltools.TensorType(name=tensor.name, dtype=_dtype(tensor.dtype)) for tensor in source.spec.outputs
            ],
            compute_precision=coremltools.precision.FLOAT16 if half else coremltools.precision.FLOAT32,
            minimum_deployment_target=coremltools.target.iOS16,
            skip_model_load=True,
        )
        small = 0
        if target.precision == "int8-weights":
            model = _small(model)
            small = _count(model, "constexpr_affine_dequantize")
            if small == 0:
                msg = f"No weight of this network has {_SMALLEST} numbers, so nothing was quantized."
                raise BadInputError(msg, next_step="Use coreml-fp16.")
        model = _named(model, source)
        model.save(str(out / PACKAGE))
        (out / PACKAGE / _DEBUG).unlink(missing_ok=True)
        effective = {
            "precision": target.precision,
            "batch": batch,
            "computes": "float16" if half else "float32",
            "minimum_deployment_target": "iOS16",
            **({"int8_weights": small} if small else {}),
        }
        overrides = batch_overrides(target, source.spec, "as CoreML's Neural Engine needs fixed shapes")
        return Written(main=f"{PACKAGE}/Manifest.json", batch=batch, effective=effective, overrides=overrides)


def _dtype(name: str) -> Any:
    import numpy as np

    return np.dtype(name).type


def _small(model: Any) -> Any:
    """Return the model with symmetric int8 weights, one scale for each channel."""
    from coremltools.optimize.coreml import OpLinearQuantizerConfig, OptimizationConfig, linear_quantize_weights

    every = OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=_SMALLEST)
    return linear_quantize_weights(model, OptimizationConfig(global_config=every))


def _count(model: Any, kind: str) -> int:
    functions = model.get_spec().mlProgram.functions.values()
    blocks = [block for function in functions for block in function.block_specializations.values()]
    return sum(operation.type == kind for block in blocks for operation in block.operations)


def _named(model: Any, source: Source) -> Any:
    """Return the model with the inputs named as in the spec, and with its name and version inside."""
    import coremltools

    document = model.get_spec()
    for inside, tensor in zip([entry.name for entry in document.description.input], source.spec.inputs, strict=True):
        if inside != tensor.name:
            coremltools.utils.rename_feature(document, inside, tensor.name)
    facts = document.description.metadata
    facts.userDefined["wherry_model"] = source.model
    facts.userDefined["wherry_version"] = f"v{source.version}"
    facts.shortDescription = f"{source.model} v{source.version}"
    return coremltools.models.MLModel(document, weights_dir=model.weights_dir, skip_model_load=True)
