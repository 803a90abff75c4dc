"""What TensorRT's builder is told about a network, as one value: no file is read, no GPU is needed."""

from dataclasses import dataclass
from typing import Any

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec, TensorSpec

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Which shapes of one input the engine takes, and for which it is fastest."""

    input: str
    smallest: tuple[int, ...]
    best: tuple[int, ...]
    largest: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user decides."""

    best_batch: int = 1
    max_batch: int = 32
    axes: str = ""
    """Other dynamic axes as `height=256:512:1024,width=256:512:1024`: smallest, best, largest."""
    workspace_gb: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRtPlan:
    """Everything that the builder is told."""

    precision: str
    profiles: tuple[Profile, ...]
    """Empty when every axis is fixed."""
    set_flags: tuple[str, ...]
    """Names in `tensorrt.BuilderFlag`."""
    clear_flags: tuple[str, ...]
    workspace_bytes: int
    timing_cache: str
    """File beside the kit; a second build on the same machine takes seconds."""
    command: str
    """The same with the vendor's own tool."""
    portability: str = (
        "An engine runs on the GPU architecture, the TensorRT version and the operating system that it was built on; "
        "build.json names them."
    )
    onnx: str = "model.onnx"
    schema: int = 1


_FLAGS: dict[str, tuple[str, ...]] = {"fp32": (), "fp16": ("FP16",), "int8": ("FP16", "INT8")}
# TF32 has 10 bits of mantissa: an fp32 engine that uses it is no fp32 engine, and it is on by default.
_CLEARED: dict[str, tuple[str, ...]] = {"fp32": ("TF32",), "fp16": (), "int8": ()}


def plan(spec: ModelSpec, precision: str, settings: Settings) -> TensorRtPlan:
    """Return what the builder is told.

    Raises:
        BadInputError: a dynamic axis has no range, or the ranges contradict each other.
    """
    ranges = {**_ranges(settings.axes)}
    profiles = tuple(_profile(tensor, settings, ranges) for tensor in spec.inputs)
    dynamic = any(isinstance(axis, str) for tensor in spec.inputs for axis in tensor.shape)
    return TensorRtPlan(
        precision=precision,
        profiles=profiles if dynamic else (),
        set_flags=_FLAGS[precision],
        clear_flags=_CLEARED[precision],
        workspace_bytes=settings.workspace_gb * GIB,
        timing_cache="timing.cache",
        command=_command(profiles if dynamic else (), precision, settings),
    )


def _ranges(text: str) -> dict[str, tuple[int, int, int]]:
    found = {}
    for part in filter(None, text.split(",")):
        name, _, numbers = part.partition("=")
        try:
            low, best, high = (int(number) for number in numbers.split(":"))
        except ValueError:
            msg = f"{part!r} is not a range of an axis."
            raise BadInputError(
                msg, next_step="Write NAME=SMALLEST:BEST:LARGEST, such as height=256:512:1024."
            ) from None
        if not 0 < low <= best <= high:
            msg = f"The range of {name!r} does not grow: {numbers}."
            raise BadInputError(msg)
        found[name.strip()] = (low, best, high)
    return found


def _profile(tensor: TensorSpec, settings: Settings, ranges: dict[str, tuple[int, int, int]]) -> Profile:
    if not 0 < settings.best_batch <= settings.max_batch:
        msg = f"The best batch of {settings.best_batch} is not between 1 and {settings.max_batch}."
        raise BadInputError(msg)
    columns: list[tuple[int, int, int]] = []
    for index, axis in enumerate(tensor.shape):
        if isinstance(axis, int):
            columns.append((axis, axis, axis))
        elif index == 0:
            columns.append(ranges.get(axis, (1, settings.best_batch, settings.max_batch)))
        elif axis in ranges:
            columns.append(ranges[axis])
        else:
            msg = f"Axis {axis!r} of input {tensor.name!r} is dynamic, and TensorRT needs a range for it."
            raise BadInputError(msg, next_step=f"Give the option axes={axis}=SMALLEST:BEST:LARGEST.")
    low, best, high = zip(*columns, strict=True)
    return Profile(input=tensor.name, smallest=low, best=best, largest=high)


def _command(profiles: tuple[Profile, ...], precision: str, settings: Settings) -> str:
    words = ["trtexec", "--onnx=model.onnx", "--saveEngine=model.engine", "--timingCacheFile=timing.cache"]
    words += [f"--{flag.lower()}" for flag in _FLAGS[precision]]
    words += ["--noTF32"] if precision == "fp32" else []
    words.append(f"--memPoolSize=workspace:{settings.workspace_gb * 1024}M")
    for option, name in (("minShapes", "smallest"), ("optShapes", "best"), ("maxShapes", "largest")):
        shapes = ",".join(f"{one.input}:{_times(getattr(one, name))}" for one in profiles)
        words += [f"--{option}={shapes}"] if shapes else []
    return " ".join(words)


def _times(shape: Any) -> str:
    return "x".join(str(size) for size in shape)
