"""TensorRT: an engine where TensorRT and a GPU are, and a complete kit for the device everywhere else."""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from wherry.core.codec import to_json
from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.export.kit import sums, zip_kit
from wherry.export.tensorrt import build
from wherry.export.tensorrt.plan import Settings, TensorRtPlan, plan
from wherry.export.tensorrt.symmetric import quantize_symmetrically
from wherry.runtime.installed import installed_version

_DISTRIBUTIONS = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-cu11")


class TensorRtExporter(Exporter):
    """From the fp32 ONNX variant; an engine belongs to the GPU and the TensorRT it was built with.

    The main file is `model.engine`, or `model.zip` for a kit; the plan lies beside either.
    """

    format = "tensorrt"
    precisions = ("fp32", "fp16", "int8")
    calibrated = ("int8",)
    options: ClassVar[Mapping[str, type]] = {"best_batch": int, "max_batch": int, "axes": str, "workspace_gb": int}
    engine = "tensorrt"
    extra = "export-onnx"
    suffix = ".engine"

    @classmethod
    def needs(cls, target: Target) -> str | None:
        """Return `onnx-fp32`."""
        del target
        return "onnx-fp32"

    @classmethod
    def kit(cls, target: Target) -> str | None:
        """Return why the result is a kit here, or None with TensorRT and a GPU."""
        del target
        if installed_version("tensorrt", _DISTRIBUTIONS) is None:
            return "TensorRT is not installed here, so the result is a kit that the device builds."
        if shutil.which("nvidia-smi") is None:
            return "There is no NVIDIA GPU here, so the result is a kit that the device builds."
        return None

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        tools: dict[str, tuple[str, ...]] = {"onnx": ()}
        if target.precision == "int8":
            tools["onnxruntime"] = ("onnxruntime", "onnxruntime-gpu")
        return tools if cls.kit(target) else {**tools, "tensorrt": _DISTRIBUTIONS}

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        try:
            plan(spec, target.precision, _settings(target))
        except BadInputError as error:
            return error.message
        return None

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        if source.parent is None:
            msg = f"{target.name} starts from onnx-fp32, which was not given."
            raise BadInputError(msg)
        made = plan(source.spec, target.precision, _settings(target))
        (out / "plan.json").write_bytes(to_json(made))
        with tempfile.TemporaryDirectory(prefix="wherry-tensorrt-") as name:
            folder = Path(name)
            if target.precision == "int8" and source.calibration is not None:
                quantize_symmetrically(source.parent, source.calibration, source.spec, folder / made.onnx)
            else:
                shutil.copyfile(source.parent, folder / made.onnx)
            absent = self.kit(target)
            _complete(folder, made, absent or "")
            effective: dict[str, Any] = {"precision": target.precision, "profiles": len(made.profiles)}
            batch = spec_batch(source.spec)
            if absent is not None:
                zip_kit(folder, out / "model.zip")
                shutil.copyfile(folder / "README.md", out / "README.md")
                effective["toolchain"] = "absent"
                return Written(main="model.zip", batch=batch, effective=effective, overrides=(absent,))
            effective |= build.build_engine(folder, _tell)
            shutil.copyfile(folder / "model.engine", out / "model.engine")
            (out / "build.json").write_text(json.dumps(effective, indent=2) + "\n", encoding="utf-8")
            return Written(main="model.engine", batch=batch, effective=effective)


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")  # goes to the log of the export


def _settings(target: Target) -> Settings:
    return Settings(**{name: value for name, value in target.options.items() if name in TensorRtExporter.options})


def _complete(folder: Path, made: TensorRtPlan, absent: str) -> None:
    """Write what is in the kit beside the network."""
    (folder / "plan.json").write_bytes(to_json(made))
    shutil.copyfile(Path(build.__file__), folder / "build.py")
    profiles = "".join(
        f"- `{one.input}`: {list(one.smallest)} to {list(one.largest)}, fastest at {list(one.best)}\n"
        for one in made.profiles
    )
    profiles = profiles or "- as the network has them\n"
    text = f"""# TensorRT engine, {made.precision}

Nothing in this kit was built. {absent} On the device, with TensorRT 10 (`pip install tensorrt`):

    python3 build.py

or with the vendor's own tool:

    {made.command}

{made.portability}

Shapes:

{profiles}"""
    (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
    (folder / "SHA256SUMS").write_text(sums(folder), encoding="utf-8", newline="\n")
