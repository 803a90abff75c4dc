"""What Hailo's compiler is told about a network, as one value: no file is read, no tool is needed.

Names and grammar are those of the Dataflow Compiler's model scripts and of the Model Zoo's NMS configurations. The
compiler gives layers names of its own while it parses, so a script names them by their ONNX node, as `{layer:NODE}`,
and `compile.py` puts the compiler's names there once they are known.
"""

import json
from dataclasses import dataclass
from typing import Any

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec, Preprocessing
from wherry.export.hailo.graph import End, GraphFacts

RECOMMENDED_SAMPLES = 1024
"""Calibration samples below which the compiler lowers the optimisation level by itself (Model Zoo, OPTIMIZATION)."""
ZOO_OPSET = 11
_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """Versions that belong together; a HEF of one generation does not run on another."""

    compiler: str
    zoo: str
    runtime: str
    python: str = "3.10"


FIRST = Toolchain(compiler="3.33", zoo="2.18", runtime="4.23")
SECOND = Toolchain(compiler="5.2", zoo="5.2", runtime="5.2")
DEFAULT_ARCHITECTURE = "hailo8"
ARCHITECTURES: dict[str, Toolchain] = {
    "hailo8": FIRST,
    "hailo8l": FIRST,
    "hailo10h": SECOND,
    "hailo15h": SECOND,
    "hailo15m": SECOND,
    "hailo15l": SECOND,
}
"""Chips by the compiler's name for them; Hailo-8 and 8L ended with compiler 3.x."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user decides."""

    architecture: str = DEFAULT_ARCHITECTURE
    optimization_level: int = 2
    nms: bool = True
    """Whether boxes are decoded and suppressed by the compiled network, for detection without masks."""
    confidence: float = 0.25
    iou: float = 0.7
    max_boxes: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationPlan:
    """What the compiler is given to set ranges with."""

    dtype: str
    shape: tuple[int, ...]
    """One sample, channels last."""
    samples: int
    what: str
    """One sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HailoPlan:
    """Everything that the compiler is told."""

    name: str
    architecture: str
    toolchain: Toolchain
    input: str
    input_shape: tuple[int, ...]
    start_shapes: dict[str, tuple[int, ...]]
    """Nodes at which the compiler starts, with the shape of what they take, as in ONNX."""
    channels_last: bool
    """Whether the network's own input has its channels last already."""
    ends: tuple[End, ...]
    regression: int | None
    nms: bool
    script: str
    """The model script (`.alls`), with `{layer:NODE}` for layers."""
    nms_config: dict[str, Any] | None
    calibration: CalibrationPlan
    commands: tuple[str, ...]
    """The vendor's command line for the same work, to read and to check by hand."""
    opset: int
    notes: tuple[str, ...] = ()
    schema: int = 1


def plan(facts: GraphFacts, spec: ModelSpec, settings: Settings, *, name: str, samples: int) -> HailoPlan:
    """Return what the compiler is told about a network.

    Args:
        facts: where the network is cut.
        spec: its model spec.
        settings: what the user decides.
        name: the network's name, a word of letters, digits and underscores.
        samples: size of the calibration set.

    Raises:
        BadInputError: the chip is unknown, or the input has another rank than 3 or 4.
    """
    if settings.architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BadInputError(f"{settings.architecture!r} is no Hailo chip that is known.", next_step=f"Use {known}.")
    if len(facts.input_shape) not in (3, 4):
        msg = f"Hailo takes images and sequences, and the input {facts.input!r} has shape {list(facts.input_shape)}."
        raise BadInputError(msg)
    how = spec.preprocessing
    by_channel = len(facts.input_shape) == 3 and max(len(how.mean), len(how.std)) > 1
    if by_channel and (how.layout == "NHWC") != facts.channels_last:
        msg = "The normalisation goes along another axis than the channels of the network's first layer."
        raise BadInputError(msg, next_step="Register the network without its normalisation, or with it inside.")
    toolchain = ARCHITECTURES[settings.architecture]
    nms = settings.nms and facts.regression is not None and not any(end.role == "prototypes" for end in facts.ends)
    return HailoPlan(
        name=name,
        architecture=settings.architecture,
        toolchain=toolchain,
        input=facts.input,
        input_shape=facts.input_shape,
        start_shapes={facts.start: _start_shape(facts)},
        channels_last=facts.channels_last,
        ends=facts.ends,
        regression=facts.regression,
        nms=nms,
        script=_script(facts, spec.preprocessing, settings, nms=nms, samples=samples),
        nms_config=_nms_config(facts, settings, name) if nms else None,
        calibration=_calibration(facts, spec.preprocessing, samples),
        commands=_commands(name, settings.architecture, facts),
        opset=facts.opset,
        notes=_notes(facts, samples),
    )


def normalization(how: Preprocessing) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and deviation in raw numbers, as the chip subtracts and divides; None when there is nothing to do.

    `(x * scale - mean) / std` is `(x - mean / scale) / (std / scale)`.
    """
    if how.scale == 1.0 and not any(how.mean) and all(value == 1.0 for value in how.std):
        return None
    width = max(len(how.mean), len(how.std), 3 if how.kind == "image" and how.color == "RGB" else 1)
    mean, std = (values * width if len(values) == 1 else values for values in (how.mean, how.std))
    return tuple(value / how.scale for value in mean), tuple(value / how.scale for value in std)


def _script(facts: GraphFacts, how: Preprocessing, settings: Settings, *, nms: bool, samples: int) -> str:
    lines = []
    numbers = normalization(how)
    if numbers is not None:
        mean, std = (_widened(values, facts) for values in numbers)
        lines.append(f"normalization1 = normalization({_list(mean)}, {_list(std)})")
    lines += [f"change_output_activation({{layer:{end.node}}}, sigmoid)" for end in facts.ends if end.role == "scores"]
    if nms:
        lines.append('nms_postprocess("nms_config.json", meta_arch=yolov8, engine=cpu)')
    level = settings.optimization_level
    lines.append(f"model_optimization_flavor(optimization_level={level}, compression_level=0)")
    lines.append(f"model_optimization_config(calibration, batch_size={_BATCH}, calibset_size={samples})")
    return "".join(f"{line}\n" for line in lines)


def _widened(values: tuple[float, ...], facts: GraphFacts) -> tuple[float, ...]:
    channels = _nhwc(facts)[-1]
    return values * channels if len(values) == 1 else values


def _list(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.9g}" for value in values) + "]"


def _nhwc(facts: GraphFacts) -> tuple[int, ...]:
    """Return one sample's shape as the chip sees it: height, width, channels; a sequence has a height of one."""
    shape = facts.input_shape[1:]
    if len(shape) == 3:
        return (*shape[1:], shape[0])
    time, channels = shape if facts.channels_last else shape[::-1]
    return (1, time, channels)


def _start_shape(facts: GraphFacts) -> tuple[int, ...]:
    batch, *rest = facts.input_shape
    return (batch, *reversed(rest)) if facts.channels_last else facts.input_shape


def _calibration(facts: GraphFacts, how: Preprocessing, samples: int) -> CalibrationPlan:
    if how.kind == "image":
        what = "Pixels from 0 to 255 after resizing, channels last; the model script normalises them."
        return CalibrationPlan(dtype="uint8", shape=_nhwc(facts), samples=samples, what=what)
    what = "Raw numbers as they are measured, channels last; the model script normalises them."
    return CalibrationPlan(dtype="float32", shape=_nhwc(facts), samples=samples, what=what)


def _nms_config(facts: GraphFacts, settings: Settings, name: str) -> dict[str, Any]:
    scores = [end for end in facts.ends if end.role == "scores"]
    boxes = [end for end in facts.ends if end.role == "boxes"]
    return {
        "nms_scores_th": settings.confidence,
        "nms_iou_th": settings.iou,
        "image_dims": list(facts.input_shape[2:]),
        "max_proposals_per_class": settings.max_boxes,
        "classes": scores[0].shape[1],
        "regression_length": facts.regression,
        "background_removal": False,
        "bbox_decoders": [
            {
                "name": f"{name}/bbox_decoder_{box.stride}",
                "stride": box.stride,
                "reg_layer": f"{name}/{{layer:{box.node}}}",
                "cls_layer": f"{name}/{{layer:{score.node}}}",
            }
            for box, score in zip(boxes, scores, strict=True)
        ],
    }


def _commands(name: str, architecture: str, facts: GraphFacts) -> tuple[str, ...]:
    ends, chip = " ".join(end.node for end in facts.ends), f"--hw-arch {architecture}"
    return (
        f"hailo parser onnx {name}.onnx {chip} --start-node-names {facts.start} --end-node-names {ends}",
        f"hailo optimize {name}.har {chip} --calib-set-path calib.npy --model-script model.alls",
        f"hailo compiler {name}_optimized.har {chip}",
        f"hailortcli parse-hef {name}.hef",
    )


def _notes(facts: GraphFacts, samples: int) -> tuple[str, ...]:
    notes = []
    if samples < RECOMMENDED_SAMPLES:
        notes.append(
            f"The calibration set has {samples} samples; below {RECOMMENDED_SAMPLES} the compiler lowers the "
            f"optimisation level by itself."
        )
    if facts.opset > ZOO_OPSET:
        notes.append(
            f"The file has opset {facts.opset}, and Hailo's Model Zoo uses {ZOO_OPSET}: if the parser does not know an "
            f"operator, export with a lower opset."
        )
    if len(facts.input_shape) == 3:
        notes.append(
            f"A sequence goes to the chip as an image of height one: one sample is {list(_nhwc(facts))} (1, time, "
            f"channels)."
        )
    if facts.channels_last:
        notes.append("The network turns its channels-last input first; that is left out, the chip is channels-last.")
    return tuple(notes)


def nms_text(made: HailoPlan) -> str | None:
    """Return `nms_config.json`, or None without NMS in the network."""
    return None if made.nms_config is None else json.dumps(made.nms_config, indent=2) + "\n"
