"""Numeric error of outputs against their references, and signs that a comparison means nothing."""

import numpy as np
from numpy.typing import NDArray

from wherry.core.report import OutputError, Tolerance
from wherry.runtime.interface import Array

_TOLERANCES = {
    # fp32: engines reorder sums and fuse layers; 2e-3 is the largest absolute error measured over EfficientNet-B0,
    # UNet, DeepLabV3+, YOLOv8n and an AlphaZero network on ONNX Runtime, LiteRT and OpenVINO.
    "fp32": Tolerance(min_cosine=0.9999, max_abs=2e-3, min_agreement=0.99, max_metric_drop=0.005),
    # fp16: 11 bits of mantissa; an absolute bound depends on the output's scale, so the cosine bounds it.
    "fp16": Tolerance(min_cosine=0.999, max_abs=None, min_agreement=0.99, max_metric_drop=0.01),
    # int8: rounding noise of a few percent in logits is expected; what may not move is the answer.
    "int8": Tolerance(min_cosine=0.97, max_abs=None, min_agreement=0.97, max_metric_drop=0.01),
}


def tolerance_for(precision: str) -> Tolerance:
    """Return what may differ at that precision; an unknown one gets the strictest."""
    return _TOLERANCES.get(precision, _TOLERANCES["fp32"])


def output_error(name: str, output: Array, reference: Array) -> OutputError:
    """Compare one output with its reference, both [samples, ...]; all samples are taken together.

    SNR is `10 log10(sum(reference^2) / sum(error^2))` in decibels, None for no error at all.
    """
    got = output.astype(np.float64).ravel()
    want = reference.astype(np.float64).ravel()
    error = np.abs(got - want)
    noise = float(np.sum(error**2))
    signal = float(np.sum(want**2))
    return OutputError(
        name=name,
        max_abs=float(error.max()),
        mean_abs=float(error.mean()),
        cosine=cosine(got, want),
        snr_db=None if noise == 0.0 else float(10.0 * np.log10(max(signal, 1e-300) / noise)),
    )


def cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Return the cosine similarity of two flat vectors; 0 when one of them is all zero and the other is not."""
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    if norms == 0.0:
        return float(np.array_equal(left, right))
    return float(np.clip(np.dot(left, right) / norms, -1.0, 1.0))


def within(error: OutputError, tolerance: Tolerance) -> tuple[str, ...]:
    """Return a sentence for each bound that the error breaks; NaN breaks every bound."""
    reasons = []
    if not error.cosine >= tolerance.min_cosine:
        reasons.append(f"{error.name}: cosine {error.cosine:.6f} is below {tolerance.min_cosine}")
    if tolerance.max_abs is not None and not error.max_abs <= tolerance.max_abs:
        reasons.append(f"{error.name}: largest error {error.max_abs:.3g} is above {tolerance.max_abs:g}")
    return tuple(reasons)


def vacuous(name: str, array: Array) -> str | None:
    """Return why agreeing with this output would prove nothing, or None.

    An output is vacuous when it does not depend on the input: all samples equal, or not a number.
    """
    flat = array.reshape(len(array), -1).astype(np.float64)
    if not np.all(np.isfinite(flat)):
        return f"{name}: the output holds values that are not finite"
    if len(flat) > 1 and bool(np.all(np.ptp(flat, axis=0) == 0.0)):
        return f"{name}: the output is the same for every input"
    return None
