"""Builds a TensorRT engine from a kit: `python3 build.py` in the kit's folder leaves `model.engine` there.

Needs tensorrt and an NVIDIA GPU, and nothing else; run it on the device, as an engine does not travel.
"""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class KitError(Exception):
    """The kit is damaged, or TensorRT cannot build its network."""


def build_engine(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Build the kit in `folder` and return what was built where.

    Args:
        folder: the unpacked kit.
        say: is told each stage.

    Raises:
        KitError: a file is missing or changed, or TensorRT refuses the network; the message is TensorRT's own.
    """
    check(folder)
    import tensorrt

    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    started = time.monotonic()
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    say(f"parsing {plan['onnx']}")
    if not parser.parse((folder / plan["onnx"]).read_bytes()):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise KitError(f"TensorRT cannot read the network: {reasons}")
    config = configure(tensorrt, builder, plan)
    cache = folder / plan["timing_cache"]
    timing = config.create_timing_cache(cache.read_bytes() if cache.is_file() else b"")
    config.set_timing_cache(timing, ignore_mismatch=False)
    say(f"building for {plan['precision']}; this takes minutes")
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise KitError("TensorRT could not build an engine; its log says why.")
    data = bytes(engine)
    (folder / "model.engine").write_bytes(data)
    cache.write_bytes(bytes(config.get_timing_cache().serialize()))
    result = {
        "engine": "model.engine",
        "sha256": hashlib.sha256(data).hexdigest(),
        "seconds": round(time.monotonic() - started, 1),
        "tensorrt": tensorrt.__version__,
        **gpu(),
    }
    (folder / "build.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def configure(tensorrt: Any, builder: Any, plan: dict[str, Any]) -> Any:
    """Return the builder's configuration that the plan says.

    Raises:
        KitError: this TensorRT has no such flag.
    """
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, plan["workspace_bytes"])
    for change, names in ((config.set_flag, plan["set_flags"]), (config.clear_flag, plan["clear_flags"])):
        for name in names:
            flag = getattr(tensorrt.BuilderFlag, name, None)
            if flag is None:
                raise KitError(f"TensorRT {tensorrt.__version__} has no flag {name}; use TensorRT 10.")
            change(flag)
    if plan["profiles"]:
        profile = builder.create_optimization_profile()
        for one in plan["profiles"]:
            profile.set_shape(one["input"], tuple(one["smallest"]), tuple(one["best"]), tuple(one["largest"]))
        config.add_optimization_profile(profile)
    return config


def gpu() -> dict[str, str]:
    """Return name, architecture and driver of the first GPU, as far as the driver's tool says."""
    fields = ("name", "compute_cap", "driver_version")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = said.strip().splitlines()
    return dict(zip(fields, (word.strip() for word in lines[0].split(",")), strict=False)) if lines else {}


def check(folder: Path) -> None:
    """Compare every file of the kit with `SHA256SUMS`.

    Raises:
        KitError: one is missing or changed.
    """
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise KitError(f"{name} is not the file that was packed; unpack the kit again.")


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def main() -> int:
    """Build the kit that this file lies in."""
    try:
        result = build_engine(Path(__file__).resolve().parent, _tell)
    except KitError as error:
        _tell(str(error))
        return 4
    except ImportError as error:
        _tell(f"TensorRT is not installed here: {error}. See README.md.")
        return 5
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
