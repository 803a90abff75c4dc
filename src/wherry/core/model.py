"""Model, version, model spec, lineage, events: the words of the training site."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from wherry.core.digest import FileRef
from wherry.core.errors import BadInputError, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NUMBER = re.compile(r"v([1-9][0-9]{0,8})")
ColorMode = Literal["L", "RGB"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a network."""

    name: str
    dtype: str
    """NumPy name, such as `float32`."""
    shape: tuple[int | str, ...]
    """Axis lengths; a string names a dynamic axis, such as `("batch", 3, 224, 224)`."""
    meaning: str = ""
    """What the numbers are, for people: `logits`, `policy`, `embedding`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How a raw example becomes the network's input: resize, colour, `(x * scale - mean) / std`, layout."""

    kind: Literal["image", "tensor"] = "tensor"
    """`image`: raw is uint8 height x width [x channels]; `tensor`: raw is already shaped like the input."""
    size: tuple[int, int] | None = None
    """Height and width in pixels; None leaves them as they are."""
    fit: Literal["stretch", "letterbox", "crop"] = "stretch"
    """How another shape comes to `size`: `stretch` changes the aspect; `letterbox` keeps it and fills with `pad`, the
    image in the middle; `crop` resizes the shorter side and cuts the middle out."""
    pad: int = 114
    """Grey value of a letterbox, 0 to 255."""
    color: ColorMode = "RGB"
    channel_order: Literal["RGB", "BGR"] = "RGB"
    """Order of the channels that the network was trained on; raw examples are always RGB."""
    resample: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] = "NCHW"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionSettings:
    """How raw boxes and scores become detections."""

    confidence: float = 0.25
    """Smallest score of a detection."""
    iou: float = 0.7
    """Overlap of two boxes of one class above which the weaker one goes (non-maximum suppression)."""
    max_boxes: int = 300
    """Most detections of one image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What a network takes and gives, and how to talk to it."""

    task: str
    """Member of the task family that knows the metric, such as `classification`."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    postprocessing: Literal["none", "softmax", "sigmoid", "nms"] = "none"
    class_names: tuple[str, ...] = ()
    detection: DetectionSettings = field(default_factory=DetectionSettings)
    """Read by the task `detection` only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a version came from: contract row F2, counted and not typed in."""

    timestamp: str
    training_images: int
    new_images: int
    removed_images: int = 0
    total_epochs: int = 0
    best_accuracy: float | None = None
    loss: float | None = None
    training_time_hours: float = 0.0
    base_model: str | None = None
    previous_version: str | None = None
    training_strategy: Literal["full_retrain", "fine_tune", "resume"] = "full_retrain"
    config_snapshot: dict[str, Any] = field(default_factory=dict)
    dataset: str | None = None
    """Digest of the data-set snapshot."""
    notes: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    """Free-form training facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDraft:
    """A version before the registry has given it a number: everything but number and digest."""

    model: str
    spec: ModelSpec
    program: FileRef
    checkpoint: tuple[FileRef, ...]
    golden: FileRef
    lineage: Lineage
    metrics: dict[str, float]
    architecture: str
    """Digest of the network's structure without its weights."""
    tools: dict[str, str]
    """Name and version of what wrote the program, such as `{"torch": "2.13.0"}`."""
    evaluation: FileRef | None = None
    """Held-out examples in the golden set's format; their labels give the task's metric. They stay at the site."""

    @property
    def files(self) -> tuple[FileRef, ...]:
        """Every file that this document names."""
        return _files(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """An immutable, numbered, digested model; what it is used for is not in it."""

    model: str
    number: int
    semantic_version: str
    created_at: str
    spec: ModelSpec
    program: FileRef
    checkpoint: tuple[FileRef, ...]
    golden: FileRef
    lineage: Lineage
    metrics: dict[str, float]
    architecture: str
    tools: dict[str, str]
    digest: str
    """Digest of this document with an empty `digest`."""
    evaluation: FileRef | None = None
    schema: int = 1

    @property
    def name(self) -> str:
        """`NAME@v2`, as it is written on a command line."""
        return f"{self.model}@v{self.number}"

    @property
    def program_format(self) -> str:
        """`pt2` for a captured program, `onnx` where an ONNX file is the program itself."""
        return self.program.path.rpartition(".")[2]

    @property
    def files(self) -> tuple[FileRef, ...]:
        """Every file that this document names."""
        return _files(self)


def _files(document: VersionDraft | Version) -> tuple[FileRef, ...]:
    optional = () if document.evaluation is None else (document.evaluation,)
    return (document.program, *document.checkpoint, document.golden, *optional)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of history: who did what, when and why. Never changed, never removed."""

    seq: int
    at: str
    who: str
    why: str
    kind: Literal["registered", "alias_moved", "released"]
    model: str
    version: int
    alias: str | None = None
    previous: int | None = None
    """The version that the alias pointed at before, or None."""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRef:
    """`NAME@v2`, or `NAME@production` for an alias."""

    model: str
    number: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> "VersionRef":
        """Read `NAME@v2` or `NAME@alias`.

        Raises:
            UsageError: it is neither.
        """
        model, at, what = text.partition("@")
        if not at or not _NAME.fullmatch(model) or not _NAME.fullmatch(what):
            msg = f"{text!r} is not a model version."
            raise UsageError(msg, next_step="Write NAME@v2 for a version, or NAME@current_best for an alias.")
        number = _NUMBER.fullmatch(what)
        if number:
            return cls(model=model, number=int(number[1]))
        return cls(model=model, alias=what)

    def __str__(self) -> str:
        """Return the form that `parse` reads."""
        return f"{self.model}@{f'v{self.number}' if self.number is not None else self.alias}"


def check_name(text: str, what: str) -> str:
    """Return `text` if it is usable as a model, alias or product name in files and addresses.

    Raises:
        BadInputError: it is empty, longer than 100 characters, or holds other than letters, digits, `.`, `_`, `-`.
    """
    if not _NAME.fullmatch(text):
        msg = f"{text!r} cannot be {what}: use letters, digits, '.', '_' and '-', at most 100 of them."
        raise BadInputError(msg)
    return text


def check_alias(text: str) -> str:
    """Return `text` if it can be an alias; `v` and a number are the names of versions.

    Raises:
        BadInputError: it is not a name, or it looks like a version number.
    """
    if _NUMBER.fullmatch(text):
        msg = f"{text!r} is the name of a version, so it cannot be an alias."
        raise BadInputError(msg)
    return check_name(text, "an alias")
