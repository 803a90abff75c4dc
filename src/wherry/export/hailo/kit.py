"""The kit: everything that Hailo's compiler needs, in one folder and one zip, so that one command makes the HEF."""

from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from wherry.core.codec import to_json
from wherry.core.model import ModelSpec
from wherry.export.calibration import open_calibration
from wherry.export.hailo.network import ends_of
from wherry.export.hailo.plan import HailoPlan, nms_text
from wherry.export.kit import sums
from wherry.runtime.hailo_tensors import to_chip
from wherry.runtime.interface import Array
from wherry.runtime.preprocess import prepare

_GOLDEN = 8  # samples of the calibration set that the emulator's answers are compared on
_STEP = 64  # samples in memory at a time


def write_kit(folder: Path, made: HailoPlan, model: Any, spec: ModelSpec, calibration: Path) -> None:
    """Write the kit's files into an empty folder.

    Args:
        folder: where to.
        made: the plan.
        model: the ONNX model that the plan is about.
        spec: the model spec.
        calibration: the calibration set.
    """
    import onnx

    onnx.save(model, str(folder / f"{made.name}.onnx"))
    raw = open_calibration(calibration).raw
    write_calibration(folder / "calib.npy", raw, made, spec)
    golden = raw[:_GOLDEN]
    arrays: dict[str, Any] = {"input": for_the_chip(golden, made, spec)}
    for index, array in enumerate(ends_of(model, made.ends, {made.input: _prepared(golden, spec)})):
        arrays[f"end{index}"] = array
    with (folder / "golden.npz").open("wb") as stream:
        np.savez(stream, **arrays)
    (folder / "plan.json").write_bytes(to_json(made))
    texts = {
        "model.alls": made.script,
        "nms_config.json": nms_text(made),
        "compile.py": resources.files("wherry.export.hailo").joinpath("compile.py").read_text(encoding="utf-8"),
        "Dockerfile": dockerfile(made),
        "README.md": readme(made),
    }
    for name, text in texts.items():
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
    (folder / "SHA256SUMS").write_text(sums(folder), encoding="utf-8", newline="\n")


def for_the_chip(raw: Array, made: HailoPlan, spec: ModelSpec) -> Array:
    """Return raw examples as the compiled network takes them, with the very preprocessing that the proof uses."""
    calibration = made.calibration
    prepared = _prepared(raw, spec)
    return to_chip(prepared, spec.preprocessing, dtype=calibration.dtype, channels_last=made.channels_last)


def _prepared(raw: Array, spec: ModelSpec) -> Array:
    """Return the network's input for any number of examples, also where its batch is fixed at one."""
    tensor = spec.inputs[0]
    open_batch = replace(spec, inputs=(replace(tensor, shape=("batch", *tensor.shape[1:])),))
    return prepare(raw, open_batch)[tensor.name]


def write_calibration(path: Path, raw: Array, made: HailoPlan, spec: ModelSpec) -> None:
    """Write the calibration set as the compiler takes it, some samples at a time."""
    with path.open("wb") as stream:
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(made.calibration.dtype)),
            "fortran_order": False,
            "shape": (len(raw), *made.calibration.shape),
        }
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(raw), _STEP):
            stream.write(for_the_chip(raw[start : start + _STEP], made, spec).tobytes())


def dockerfile(made: HailoPlan) -> str:
    """Return a container file; the compiler's wheel comes from Hailo's developer zone, behind a login."""
    return f"""# Hailo's Dataflow Compiler {made.toolchain.compiler}, with what its guide lists. Put its wheel here.
FROM --platform=linux/amd64 ubuntu:22.04
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\
    build-essential graphviz libgraphviz-dev python3 python3-dev python3-pip python3-tk && rm -rf /var/lib/apt/lists/*
COPY hailo_dataflow_compiler-{made.toolchain.compiler}*.whl /tmp/
RUN pip3 install --no-cache-dir /tmp/hailo_dataflow_compiler-*.whl
ENV USER=hailo
WORKDIR /kit
CMD ["python3", "compile.py"]
"""


def readme(made: HailoPlan) -> str:
    """Return what a person has to know."""
    tools, ranges = made.toolchain, made.calibration
    ends = "\n".join(
        f"- `{end.node}` ({end.role}{f', stride {end.stride}' if end.stride else ''})" for end in made.ends
    )
    notes = "".join(f"- {note}\n" for note in made.notes) or "- none\n"
    commands = "\n".join(f"    {line}" for line in made.commands)
    return f"""# {made.name} for {made.architecture}

Nothing in this kit was compiled: Hailo's Dataflow Compiler was not on the machine that wrote it. Where it is (Linux on
x86-64, Python {tools.python}, compiler {tools.compiler}), this makes `{made.name}.hef`:

    python3 compile.py

or in a container, with the compiler's wheel from Hailo's developer zone beside the Dockerfile:

    docker build -t {made.name}-kit . && docker run --rm -v "$PWD":/kit {made.name}-kit

Versions that belong together: Dataflow Compiler {tools.compiler}, Model Zoo {tools.zoo}, and HailoRT {tools.runtime}
on the device. A HEF runs on the chip it was compiled for and on no other.

The network is cut at these nodes of `{made.name}.onnx` (opset {made.opset}):

{ends}

{ranges.what}
There are {ranges.samples} samples; each is {list(ranges.shape)} {ranges.dtype}.

Notes:

{notes}
The same with the vendor's command line (the layers in `model.alls` have to be named by hand there):

{commands}

`result.json` says afterwards how close the emulator came to the float network, and what the compiler changed by
itself.
"""
