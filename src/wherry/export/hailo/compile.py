"""Compiles a kit with Hailo's Dataflow Compiler: `python3 compile.py` in the kit's folder leaves a HEF there.

Needs hailo_sdk_client (Linux on x86-64) and numpy, and nothing else. Every stage is kept as a `.har` file, so that the
vendor's tools can look into it. Whatever the compiler changed on its own is in `result.json`.
"""

import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LOWERED = re.compile(r"(reduc|lower)\w*\s+(the\s+)?(optimization|compression)\s+level", re.IGNORECASE)
GOOD_COSINE = 0.95
_LAYER = re.compile(r"\{layer:([^}]*)\}")


class KitError(Exception):
    """The kit is damaged, or the compiler sees another network than the plan."""


def compile_kit(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Compile the kit in `folder`, leave `NAME.hef` there, and return what happened.

    Args:
        folder: the unpacked kit.
        say: is told each stage.

    Raises:
        KitError: a file is missing or changed, or a layer of the plan is not in the parsed network.
    """
    check(folder)
    os.environ.setdefault("USER", "wherry")  # the compiler reads it, and containers have none
    from hailo_sdk_client import ClientRunner

    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    name, listener = plan["name"], Listener()
    seconds: dict[str, float] = {}
    stages = Stages(say, seconds)
    with listener:
        runner = ClientRunner(hw_arch=plan["architecture"])
        stages.run("parse", lambda: parse(runner, folder, plan))
        runner.save_har(str(folder / f"{name}.har"))
        runner.load_model_script(write_script(runner, folder, plan))
        stages.run("optimize", lambda: runner.optimize(np.load(folder / "calib.npy")))
        runner.save_har(str(folder / f"{name}_optimized.har"))
        cosines = stages.run("emulate", lambda: emulate(runner, folder, plan)) if not plan["nms"] else {}
        hef = stages.run("compile", runner.compile)
    (folder / f"{name}.hef").write_bytes(hef)
    result = {
        "hef": f"{name}.hef",
        "sha256": hashlib.sha256(hef).hexdigest(),
        "seconds": seconds,
        "emulator_cosine": cosines,
        "verified": "emulator" if cosines and min(cosines.values()) >= GOOD_COSINE else "none",
        "lowered": listener.lowered,
    }
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def check(folder: Path) -> None:
    """Compare every file of the kit with `SHA256SUMS`.

    Raises:
        KitError: one is missing or changed.
    """
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file():
            raise KitError(f"{name} is missing from the kit; unpack it again.")
        if digest_of(path) != digest:
            raise KitError(f"{name} is not the file that was packed; unpack the kit again.")


def digest_of(path: Path) -> str:
    """Return the sha256 of a file, read in pieces; the compiler's Python is 3.10, without `hashlib.file_digest`."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def parse(runner: Any, folder: Path, plan: dict[str, Any]) -> None:
    """Give the network to the compiler, cut where the plan says."""
    shapes = {node: list(shape) for node, shape in plan["start_shapes"].items()}
    runner.translate_onnx_model(
        str(folder / f"{plan['name']}.onnx"),
        plan["name"],
        start_node_names=list(shapes),
        end_node_names=[end["node"] for end in plan["ends"]],
        net_input_shapes=shapes,
    )


def write_script(runner: Any, folder: Path, plan: dict[str, Any]) -> str:
    """Put the compiler's names of layers into model script and NMS configuration, and return the script."""
    network = runner.get_hn()
    layers = (json.loads(network) if isinstance(network, str) else network)["layers"]

    def named(text: str) -> str:
        return _LAYER.sub(lambda found: layer_of(found[1], layers), text)

    script = named(plan["script"])
    if plan["nms_config"] is not None:
        path = folder / "nms_config_resolved.json"
        path.write_text(named(json.dumps(plan["nms_config"], indent=2)) + "\n", encoding="utf-8")
        script = script.replace('"nms_config.json"', json.dumps(str(path)))
    (folder / "model_resolved.alls").write_text(script, encoding="utf-8")
    return script


def layer_of(node: str, layers: dict[str, Any]) -> str:
    """Return the compiler's name of the layer that an ONNX node became.

    Raises:
        KitError: there is none.
    """
    found = [
        full
        for full, layer in layers.items()
        if node in layer.get("original_names", ()) and layer.get("type") != "output_layer"
    ]
    if not found:
        raise KitError(f"The compiler made no layer of the node {node!r}; does it know this operator?")
    convolutions = [full for full in found if layers[full].get("type") == "conv"]
    return (convolutions or found)[0].rpartition("/")[2]


def emulate(runner: Any, folder: Path, plan: dict[str, Any]) -> dict[str, float]:
    """Run the quantized network in the compiler's emulator and return the cosine of each end with the float one."""
    from hailo_sdk_client import InferenceContext

    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        inputs = golden["input"]
        wanted = [golden[f"end{index}"] for index in range(len(plan["ends"]))]
    with runner.infer_context(InferenceContext.SDK_QUANTIZED) as context:
        found = runner.infer(context, inputs)
    outputs = found if isinstance(found, list | tuple) else [found]
    if len(outputs) != len(wanted):
        raise KitError(f"The emulator gave {len(outputs)} outputs, and the network was cut at {len(wanted)} nodes.")
    pairs = zip(plan["ends"], outputs, wanted, strict=True)
    return {end["node"]: cosine(np.asarray(output), reference) for end, output, reference in pairs}


def cosine(output: Any, reference: Any) -> float:
    """Return the cosine of two arrays of equally many numbers, taken as one vector each."""
    if output.size != reference.size:
        raise KitError(f"The emulator gave the shape {list(output.shape)} instead of {list(reference.shape)}.")
    left, right = (np.asarray(array, dtype=np.float64).ravel() for array in (output, reference))
    length = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / length if length else 0.0


class Stages:
    """Times the stages and tells about them."""

    def __init__(self, say: Callable[[str], None], seconds: dict[str, float]) -> None:
        self._say = say
        self._seconds = seconds

    def run(self, stage: str, work: Callable[[], Any]) -> Any:
        """Do the work and return what it gives."""
        self._say(f"{stage}: started")
        started = time.monotonic()
        answer = work()
        self._seconds[stage] = round(time.monotonic() - started, 1)
        self._say(f"{stage}: done in {self._seconds[stage]} s")
        return answer


class Listener(logging.Handler):
    """Keeps the compiler's lines about an optimisation level that it lowered on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.lowered: list[str] = []
        self._loggers: list[logging.Logger] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one line."""
        line = record.getMessage()
        if LOWERED.search(line) and line not in self.lowered:
            self.lowered.append(line)

    def __enter__(self) -> "Listener":
        quiet = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
        # The compiler's own loggers do not pass their lines on, so the handler goes to each of those.
        self._loggers = [logging.getLogger(), *(logger for logger in quiet if not logger.propagate)]
        for logger in self._loggers:
            logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        for logger in self._loggers:
            logger.removeHandler(self)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def main() -> int:
    """Compile the kit that this file lies in."""
    try:
        result = compile_kit(Path(__file__).resolve().parent, _tell)
    except KitError as error:
        sys.stderr.write(f"{error}\n")
        return 4
    except ImportError as error:
        sys.stderr.write(f"Hailo's Dataflow Compiler is not installed here: {error}. See README.md.\n")
        return 5
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
