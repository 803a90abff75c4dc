"""Int8 as TensorRT takes it: quantize and dequantize nodes whose zero points are zero, and no quantized bias."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wherry.core.model import ModelSpec
from wherry.export.calibration import open_calibration
from wherry.export.interface import spec_batch
from wherry.runtime import telemetry
from wherry.runtime.interface import Tensors
from wherry.runtime.preprocess import prepare

_STEP = 16  # examples at a time


def quantize_symmetrically(parent: Path, calibration: Path, spec: ModelSpec, main: Path) -> None:
    """Write an ONNX file with the ranges that the calibration set shows.

    Args:
        parent: the network in fp32.
        calibration: the calibration set.
        spec: the model spec, for its preprocessing.
        main: the file to write.
    """
    telemetry.silence()
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="wherry-quantize-") as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(parent), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(main),
            _Reader(calibration, spec),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )


class _Reader:
    """A few examples at a time; the form that onnxruntime's calibrator reads."""

    def __init__(self, calibration: Path, spec: ModelSpec) -> None:
        self._batches = _batches(calibration, spec)

    def get_next(self) -> Tensors | None:
        return next(self._batches, None)


def _batches(calibration: Path, spec: ModelSpec) -> Iterator[Tensors]:
    raw = open_calibration(calibration).raw
    step = spec_batch(spec) or _STEP
    for start in range(0, len(raw), step):
        piece = raw[start : start + step]
        missing = 0 if spec_batch(spec) is None else step - len(piece)
        yield prepare(np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)]), spec)
