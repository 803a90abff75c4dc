"""Keeps runtimes from calling home: called before one of them is imported."""

import os
import sys


def silence() -> None:
    """Switch off the telemetry of onnxruntime and openvino in this process and in its children.

    Importing openvino reports the import to its maker unless its telemetry module is absent, so for this process it
    is; openvino falls back to a stub of its own. A device may have no network, and its owner was not asked.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    blocked: dict[str, object] = {"openvino_telemetry": None}  # an import of a module that is None fails
    for name, nothing in blocked.items():
        vars(sys)["modules"].setdefault(name, nothing)
