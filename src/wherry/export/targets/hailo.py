"""Hailo: a HEF where the vendor's compiler is installed, and a complete kit for it everywhere else."""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from wherry.core.codec import to_json
from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec
from wherry.core.variant import Target
from wherry.export.calibration import open_calibration
from wherry.export.hailo.compile import compile_kit
from wherry.export.hailo.graph import graph_facts
from wherry.export.hailo.kit import readme, write_kit
from wherry.export.hailo.network import fixed_network
from wherry.export.hailo.plan import ARCHITECTURES, DEFAULT_ARCHITECTURE, HailoPlan, Settings, plan
from wherry.export.interface import Exporter, Source, Written, spec_batch
from wherry.export.kit import zip_kit
from wherry.runtime.installed import installed_version

COMPILER = "hailo_sdk_client"
_DISTRIBUTIONS = ("hailo-dataflow-compiler", "hailo_sdk_client")


class HailoExporter(Exporter):
    """Int8 on the chip, from the fp32 ONNX variant and real examples.

    With Hailo's compiler the main file is `model.hef`; without it `model.zip`, a kit that one command compiles. The
    plan and its README lie beside either. Nothing is ever called a HEF that the compiler did not write.
    """

    format = "hailo"
    precisions = ("int8",)
    calibrated = ("int8",)
    options: ClassVar[Mapping[str, type]] = {
        "hw_arch": str,
        "optimization_level": int,
        "nms": bool,
        "score": float,
        "iou": float,
        "max_boxes": int,
    }
    engine = "hailo"
    extra = "export-onnx"
    suffix = ".hef"

    @classmethod
    def needs(cls, target: Target) -> str | None:
        """Return `onnx-fp32`."""
        del target
        return "onnx-fp32"

    @classmethod
    def kit(cls, target: Target) -> str | None:
        """Return why the result is a kit here, or None with the compiler."""
        del target
        if installed_version(COMPILER, _DISTRIBUTIONS) is not None:
            return None
        return "Hailo's compiler is not installed here, so the result is a kit for it."

    @classmethod
    def _tools(cls, target: Target) -> Mapping[str, tuple[str, ...]]:
        tools: dict[str, tuple[str, ...]] = {
            "onnx": (),
            "onnxscript": (),
            "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
        }
        # The compiler is part of the variant's identity where it is, and no reason to refuse where it is not.
        return tools if cls.kit(target) else {**tools, COMPILER: _DISTRIBUTIONS}

    @classmethod
    def _refuses(cls, target: Target, spec: ModelSpec) -> str | None:
        architecture = target.options.get("hw_arch", DEFAULT_ARCHITECTURE)
        if architecture not in ARCHITECTURES:
            return f"{architecture!r} is no Hailo chip that is known; these are: {', '.join(ARCHITECTURES)}."
        if len(spec.inputs) != 1 or len(spec.inputs[0].shape) not in (3, 4):
            return "The format hailo takes one image or one sequence, an input of rank 3 or 4."
        if len(spec.inputs[0].shape) == 4 and spec.preprocessing.layout == "NHWC":
            return "The format hailo starts from networks whose images have their channels on axis 1."
        loose = [axis for axis in spec.inputs[0].shape[1:] if isinstance(axis, str)]
        if loose:
            return (
                f"The format hailo has fixed shapes, and axis {loose[0]!r} of input {spec.inputs[0].name!r} is dynamic."
            )
        batch = spec_batch(spec)
        if batch not in (None, 1):
            return f"The format hailo has a batch of one, and this model has a fixed batch of {batch}."
        return None

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        if source.parent is None or source.calibration is None:
            msg = f"{target.name} needs its parent and a calibration set."
            raise BadInputError(msg)
        model = fixed_network(source.parent)
        settings = _settings(target, source.spec)
        samples = len(open_calibration(source.calibration).raw)
        facts = graph_facts(model, source.spec)
        made = plan(facts, source.spec, settings, name=_word(source.model), samples=samples)
        (out / "plan.json").write_bytes(to_json(made))
        effective = {
            "precision": "int8",
            "hw_arch": made.architecture,
            "opset": made.opset,
            "nms": made.nms,
            "batch": 1,
        }
        overrides = ["The batch is fixed at 1, as Hailo's compiler takes fixed shapes."]
        if settings.nms and facts.regression is not None and not made.nms:
            overrides.append("Boxes are decoded by the host: the network has masks.")
        with tempfile.TemporaryDirectory(prefix="wherry-hailo-") as name:
            folder = Path(name)
            write_kit(folder, made, model, source.spec, source.calibration)
            absent = self.kit(target)
            if absent is not None:
                zip_kit(folder, out / "model.zip")
                (out / "README.md").write_text(readme(made), encoding="utf-8")
                effective["toolchain"] = "absent"
                return Written(main="model.zip", batch=1, effective=effective, overrides=(*overrides, absent))
            return _compile(folder, made, out, effective, overrides)


def _compile(folder: Path, made: HailoPlan, out: Path, effective: dict[str, object], overrides: list[str]) -> Written:
    result = compile_kit(folder, _tell)
    shutil.copyfile(folder / result["hef"], out / "model.hef")
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    overrides += [f"The compiler said: {line}" for line in result["lowered"]]
    if made.nms:
        overrides.append("The emulator was not compared: boxes are suppressed inside the network.")
    effective |= {"toolchain": "hailo_sdk_client", "emulator_cosine": result["emulator_cosine"]}
    return Written(
        main="model.hef", batch=1, effective=effective, overrides=tuple(overrides), verified=result["verified"]
    )


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")  # goes to the log of the export


def _settings(target: Target, spec: ModelSpec) -> Settings:
    asked, found = target.options, spec.detection
    return Settings(
        architecture=asked.get("hw_arch", DEFAULT_ARCHITECTURE),
        optimization_level=asked.get("optimization_level", 2),
        nms=asked.get("nms", True),
        confidence=asked.get("score", found.confidence),
        iou=asked.get("iou", found.iou),
        max_boxes=asked.get("max_boxes", found.max_boxes),
    )


def _word(name: str) -> str:
    return re.sub(r"\W", "_", name)
