"""Static int8 quantization of an ONNX file with ONNX Runtime: QDQ, int8 weights per channel.

The ranges are measured once, a few examples at a time, and kept, so that building the file again with other operators
left in float costs no second calibration. Only what an operator reads is quantized, never what it writes: so an
operator that is left in float gets its data unharmed, and the network's outputs stay float.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.core.variant import Target
from wherry.runtime import telemetry
from wherry.runtime.interface import Tensors

METHODS = ("minmax", "entropy", "percentile")
"""How a range comes from the values that the calibration set shows: the extremes; the cut with the smallest divergence
of the histograms (Migacz, GTC 2017); the 99.999th percentile."""


@dataclass(frozen=True, slots=True)
class StaticOptions:
    """What may be chosen."""

    method: str = "minmax"
    symmetric: bool = False
    """Whether zero stands in the middle of each activation's range."""

    @classmethod
    def of(cls, target: Target) -> "StaticOptions":
        """Return what the target's options say."""
        options = target.options
        return cls(options.get("calibration_method", "minmax"), options.get("symmetric_activations", False))


class StaticQuantizer:
    """A float file with its measured ranges; builds int8 files from them."""

    def __init__(self, parent: Path, batches: Iterable[Tensors], options: StaticOptions, scratch: Path) -> None:
        """Prepare the parent and measure the ranges.

        Args:
            parent: a float32 file.
            batches: calibration examples, prepared.
            options: what may be chosen.
            scratch: a folder for what lies between.
        """
        telemetry.silence()
        import onnx
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.options = options
        self.prepared = scratch / "prepared.onnx"
        self._ranges = scratch / "ranges.json"
        # What we wrote is folded, and once more would cost the names; a file that was registered may not be.
        nodes = onnx.load(str(parent), load_external_data=False).graph.node
        folded = not any(node.op_type == "BatchNormalization" for node in nodes)
        # ONNX's own shape inference is enough, and ONNX Runtime's symbolic one gives up on a detector's head.
        quant_pre_process(str(parent), str(self.prepared), skip_symbolic_shape=True, skip_optimization=folded)
        self._types = _operator_types()
        self._calibrate(batches, scratch / "augmented.onnx")

    def build(self, main: Path, excluded: Sequence[str] = ()) -> None:
        """Write the int8 file with these operators in float."""
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        quantize_static(
            str(self.prepared),
            str(main),
            None,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=self._types,
            per_channel=True,
            # uint8 with int8 weights is what x86 has instructions for: EfficientNet-B0 runs 4.5 times as fast as with
            # int8 here. Symmetric ranges are for accelerators, which want int8.
            activation_type=QuantType.QInt8 if self.options.symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=sorted(excluded),
            calibrate_method=self._method(),
            calibration_cache_path=self._ranges,
            extra_options={
                "OpTypesToExcludeOutputQuantization": self._types,
                "ActivationSymmetric": self.options.symmetric,
            },
        )

    def effective(self) -> dict[str, Any]:
        """Return the options in effect, for the receipt."""
        return {
            "format": "QDQ",
            "weights": "int8 per channel",
            "activations": "int8 per tensor, symmetric" if self.options.symmetric else "uint8 per tensor, asymmetric",
            "calibration_method": self.options.method,
        }

    def _method(self) -> Any:
        from onnxruntime.quantization import CalibrationMethod

        return getattr(CalibrationMethod, {"minmax": "MinMax"}.get(self.options.method, self.options.method.title()))

    def _calibrate(self, batches: Iterable[Tensors], augmented: Path) -> None:
        from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data

        calibrator = create_calibrator(
            self.prepared,
            self._types,
            augmented_model_path=str(augmented),
            calibrate_method=self._method(),
            extra_options={"symmetric": False},
        )
        for batch in batches:  # one at a time: the calibrator merges what it finds, and keeps nothing of the batch
            calibrator.collect_data(_Once(batch))
        save_tensors_data(calibrator.compute_data(), self._ranges)


def _operator_types() -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QDQRegistry, *QLinearOpsRegistry})


class _Once:
    """One batch, in the form that onnxruntime's calibrator reads."""

    def __init__(self, batch: Tensors) -> None:
        self._batch: Tensors | None = batch

    def get_next(self) -> Tensors | None:
        batch, self._batch = self._batch, None
        return batch
