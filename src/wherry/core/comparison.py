"""Comparison: two versions or variants side by side (contract row S5)."""

from dataclasses import dataclass, field

from wherry.core.report import EngineInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two."""

    name: str
    """`fire-detector@v2 onnx-int8`."""
    version: str
    """`fire-detector@v2`."""
    target: str
    """Name of the target, or `program` for the captured program itself."""
    engine: EngineInfo
    size_bytes: int
    proven: bool
    """Whether its newest proof is a pass; a program is its own reference."""
    quality: float | None
    """The task's metric on the right one's evaluation examples (else its golden ones), or None without labels."""
    p50_ms: float
    ci95_ms: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How much faster the second is than the first: called in turn, in one process."""

    ratio: float
    """Time of the first over the time of the second: above 1 the second is faster."""
    ci95: tuple[float, float]
    """Bootstrap interval of the ratio over rounds in which both were called."""
    noise: float
    """How far the first was from itself (A/A): opened twice, and between halves of the run; relative to its median."""
    same: bool
    """Whether the difference is within the noise, or the interval holds 1."""
    calls: int
    """Of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not the same in both."""

    what: str
    """Path such as `preprocessing.mean` or `operators.aten.conv2d`."""
    left: str
    right: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two variants on the same raw examples, each through its own preprocessing."""

    left: Side
    right: Side
    examples: int
    """Raw examples that both answered: golden and evaluation set of the right one."""
    agreement: dict[str, float]
    """The task's numbers of left against right: `agreement`, `confidence_drift`…; empty where answers have no
    common form."""
    mean_confidence_drift: float | None
    """Mean absolute difference of the confidence in the right one's answer; None for tasks without a confidence."""
    max_confidence_drift: float | None
    quality: str | None
    """Name of the metric in `Side.quality`."""
    input_difference: float | None
    """Largest difference of the prepared inputs; None where they have different shapes."""
    speed: Speed
    differences: dict[str, tuple[Difference, ...]] = field(default_factory=dict)
    """By subject: `preprocessing`, `classes`, `signature`, `layers`, `build`, `training`; only those that differ."""
    notes: tuple[str, ...] = ()
    """What could not be compared, and why."""
    schema: int = 1
