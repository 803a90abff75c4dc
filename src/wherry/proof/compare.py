"""Numeric error of outputs against their references, and signs that a comparison means nothing."""

import numpy as np
from numpy.typing import NDArray

from wherry.core.report import OutputError, Tolerance
from wherry.runtime.interface import Array

# A cosine bounds the noise: with noise at S decibels below the signal it is 1 / sqrt(1 + 10^(-S/10)). Eight bits leave
# 30 to 40 dB after one layer (6.02 dB a bit, less the headroom of the range), and L layers of independent noise take
# 10 log10(L) of it: 17 dB for the fifty layers of a large network.
_TOLERANCES = {
    # fp32: engines reorder sums and fuse layers; 2e-3 is the largest absolute error measured over EfficientNet-B0,
    # UNet, DeepLabV3+, YOLOv8n and an AlphaZero network on ONNX Runtime, LiteRT and OpenVINO. The cosine is 1.000000
    # to six places: a relative error of one in a thousand.
    "fp32": Tolerance(min_cosine=0.9999995, max_abs=2e-3, min_agreement=0.99, max_metric_drop=0.005),
    # fp16: 11 bits of mantissa; single values may be far off where sums cancel, so the cosine bounds it.
    "fp16": Tolerance(min_cosine=0.999, max_abs=None, min_agreement=0.99, max_metric_drop=0.01),
    # int8: ranges that were set beforehand; 12 dB are left. What may not move is the answer.
    "int8": Tolerance(min_cosine=0.97, max_abs=None, min_agreement=0.97, max_metric_drop=0.01),
    # int8-dynamic: ranges of the input at hand, so nothing is clipped: 15 dB.
    "int8-dynamic": Tolerance(min_cosine=0.984, max_abs=None, min_agreement=0.97, max_metric_drop=0.01),
    # int8-weights: weights alone are rounded, each channel in its own range, and sums are floating point: 17 dB.
    "int8-weights": Tolerance(min_cosine=0.99, max_abs=None, min_agreement=0.98, max_metric_drop=0.01),
}
_ROWS = 16
_SCALE_SAMPLE = 1_000_000  # values of a reference that its scale is taken from


def tolerance_for(precision: str, *, pruned: bool = False) -> Tolerance:
    """Return what may differ at that precision; an unknown one gets the strictest.

    A pruned network is another network: its numbers may differ as much as eight bits make them, its answers no more.
    """
    return _TOLERANCES["int8"] if pruned else _TOLERANCES.get(precision, _TOLERANCES["fp32"])


class OutputTally:
    """One output against its reference, chunk by chunk; all samples are taken together."""

    def __init__(self, name: str, scale: float) -> None:
        self.name = name
        self._scale = scale
        self._largest = self._sum = 0.0
        self._count = 0
        self._noise = self._signal = self._energy = self._product = 0.0
        self._first: Array | None = None
        self._varies = False
        self._samples = 0
        self._finite = True

    def update(self, output: Array, reference: Array) -> None:
        """Take the next samples, both [samples, ...] of one shape."""
        self.watch(output)
        got = output.astype(np.float64).ravel()
        want = reference.astype(np.float64).ravel()
        error = np.abs(got - want)
        self._largest = float(np.maximum(self._largest, error.max()))  # keeps a NaN
        self._sum += float(error.sum())
        self._count += error.size
        self._noise += float(np.dot(error, error))
        self._signal += float(np.dot(want, want))
        self._energy += float(np.dot(got, got))
        self._product += float(np.dot(got, want))

    def result(self) -> OutputError:
        """Return the error of all samples so far.

        SNR is `10 log10(sum(reference^2) / sum(error^2))` in decibels, None for no error at all.
        """
        norms = float(np.sqrt(self._signal) * np.sqrt(self._energy))
        cosine = float(self._noise == 0.0) if norms == 0.0 else float(np.clip(self._product / norms, -1.0, 1.0))
        quiet = self._noise == 0.0
        return OutputError(
            name=self.name,
            max_abs=self._largest,
            mean_abs=self._sum / max(self._count, 1),
            cosine=cosine,
            snr_db=None if quiet else float(10.0 * np.log10(max(self._signal, 1e-300) / self._noise)),
            scale=self._scale,
        )

    def vacuous(self) -> str | None:
        """Return why agreeing with this output would prove nothing, or None.

        An output is vacuous when it does not depend on the input: all samples equal, or not a number.
        """
        if not self._finite:
            return f"{self.name}: the output holds values that are not finite"
        if self._samples > 1 and not self._varies:
            return f"{self.name}: the output is the same for every input"
        return None

    def watch(self, output: Array) -> None:
        """Look at the next samples for signs that they mean nothing; `update` does it too."""
        self._finite = self._finite and bool(np.isfinite(output).all())
        self._samples += len(output)
        if self._first is None:
            self._first = output[:1].copy()
        self._varies = self._varies or bool((output != self._first).any())


def output_error(name: str, output: Array, reference: Array) -> OutputError:
    """Compare one output with its reference, both [samples, ...]; all samples are taken together."""
    tally = OutputTally(name, scale_of(reference))
    tally.update(output, reference)
    return tally.result()


def scale_of(reference: Array) -> float:
    """Return how large an output's values are: the 99th percentile of their magnitudes, and at least 1.

    The bound of the largest absolute error is a multiple of it: boxes run to 640 pixels, probabilities to 1. A large
    output is sampled evenly.
    """
    flat = reference.reshape(-1)
    few = np.abs(flat[:: max(1, flat.size // _SCALE_SAMPLE)].astype(np.float64))
    few = few[np.isfinite(few)]
    return max(1.0, float(np.percentile(few, 99.0))) if few.size else 1.0


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
        reasons.append(f"{error.name}: cosine {error.cosine:.7f} is below {tolerance.min_cosine}")
    largest = None if tolerance.max_abs is None else tolerance.max_abs * error.scale
    if largest is not None and not error.max_abs <= largest:
        reasons.append(f"{error.name}: largest error {error.max_abs:.3g} is above {largest:.3g}")
    return tuple(reasons)


def vacuous(name: str, array: Array) -> str | None:
    """Return why agreeing with this output would prove nothing, or None."""
    tally = OutputTally(name, 1.0)
    for start in range(0, len(array), _ROWS):
        tally.watch(array[start : start + _ROWS])
    return tally.vacuous()
