"""In which order variants are built: the longest road first, so that no processor waits for a late long one."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

from wherry.core.variant import Target

Key = TypeVar("Key", bound=Hashable)

# Seconds that converting EfficientNet-B0 took on one core of an EPYC; only their order matters. Calibrating costs more
# than converting, so a static int8 counts three times.
SECONDS: dict[str, float] = {
    "executorch": 13.0,
    "aoti": 12.0,
    "tflite": 8.0,
    "onnx": 5.0,
    "coreml": 4.5,
    "hailo": 4.0,
    "torchscript": 3.0,
    "openvino": 2.5,
    "tensorrt": 2.0,
    "pytorch": 2.0,
    "pt2": 1.0,
    "null": 0.5,
}
_UNKNOWN = 5.0
_CALIBRATED = 3.0


def seconds_of(target: Target) -> float:
    """Return roughly how long a target takes, in a unit that means nothing but the order."""
    factor = _CALIBRATED if target.precision == "int8" else 1.0
    return SECONDS.get(target.format, _UNKNOWN) * factor


def longest_first(seconds: Mapping[Key, float], parents: Mapping[Key, Key | None]) -> list[Key]:
    """Return the steps so that what heads the longest chain of work comes first (list scheduling by critical path).

    A step always comes after the one that it starts from. Graham, "Bounds on Multiprocessing Timing Anomalies", 1969.

    Args:
        seconds: cost of each step.
        parents: the step that each one starts from, or None.
    """
    ahead = dict(seconds)
    for key in seconds:
        total, step = seconds[key], parents[key]
        while step is not None:
            total += seconds[step]
            ahead[step] = max(ahead[step], total)
            step = parents[step]
    return sorted(seconds, key=lambda key: -ahead[key])
