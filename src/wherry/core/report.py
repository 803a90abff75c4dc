"""Proof and measurement: tolerance, report, verdict, proven, benchmark, choice."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from wherry.core.variant import Variant

Where = Literal["build", "device", "server"]
RungName = Literal["preprocessing", "program", "converted", "quantized", "engine", "device"]


class Verdict(StrEnum):
    """How a proof ended; anything but `pass` is a failure (fail-closed)."""

    PASS = "pass"
    EXPORT_FAIL = "export_fail"
    LOAD_FAIL = "load_fail"
    RUN_FAIL = "run_fail"
    SHAPE_MISMATCH = "shape_mismatch"
    OUTPUT_MISMATCH = "output_mismatch"
    VACUOUS = "vacuous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What may differ. Written into every report, so a verdict can be read later without the code."""

    min_cosine: float
    """Smallest cosine similarity of an output, all samples taken together."""
    max_abs: float | None
    """Largest absolute error of any element, as a multiple of the output's scale; None where precision makes it
    meaningless."""
    min_agreement: float
    """Smallest share of samples on which the task's answer is the same, 0 to 1."""
    max_metric_drop: float
    """Largest loss of the task's metric against the reference, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputError:
    """Numeric error of one output against its reference."""

    name: str
    max_abs: float
    mean_abs: float
    cosine: float
    snr_db: float | None
    """Signal-to-noise ratio in decibels; None when there is no noise at all."""
    scale: float = 1.0
    """How large the reference's values are: the 99th percentile of their magnitudes, and at least 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of the ladder from the network to this engine, compared with the step before it."""

    name: RungName
    subject: str
    """What ran on this rung, such as `onnx-fp32 on onnxruntime`."""
    passed: bool
    cosine: float | None = None
    max_abs: float | None = None
    agreement: float | None = None
    reason: str = ""
    """Why it broke, or what was not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Who ran which share of the graph, as far as the runtime says."""

    provider: str
    """Execution provider, delegate or device, such as `CPUExecutionProvider` or `XNNPACK`."""
    operators: int
    share: float
    """Of all operators, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What ran where."""

    engine: str
    version: str
    device: str
    """What really computed, such as `cpu` or `cuda:0`."""
    options: dict[str, Any] = field(default_factory=dict)
    execution: tuple[Execution, ...] = ()
    """Largest share first; empty where the runtime does not say."""
    fallback: str | None = None
    """Why something else than asked for did part of the work; such a run is no measure of the variant's speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Golden set run against a variant: numbers and a verdict."""

    variant: str
    """Digest of the variant."""
    target: str
    golden: str
    """sha256 of the golden set."""
    where: Where
    verdict: Verdict
    reasons: tuple[str, ...]
    """Empty on a pass; otherwise one sentence for each thing that failed, first cause first."""
    samples: int
    outputs: tuple[OutputError, ...]
    metrics: dict[str, float]
    """The task's numbers, such as `top1_agreement`, `accuracy`, `reference_accuracy`."""
    tolerance: Tolerance
    engine: EngineInfo | None
    not_covered: tuple[str, ...]
    """What this proof did not look at."""
    seconds: float
    at: str
    quality: str | None = None
    """Which of the metrics is the task's own, such as `accuracy` or `miou`; None without labels."""
    rungs: tuple[Rung, ...] = ()
    """The ladder, where it was climbed; the first that is not passed is where the variant broke."""
    schema: int = 1

    @property
    def passed(self) -> bool:
        """Whether the verdict is a pass."""
        return self.verdict is Verdict.PASS


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A variant whose proof passed. Made in one place only: `wherry.proof.prove`."""

    variant: Variant
    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Medians of one call from the raw examples to the answers, stage by stage, in milliseconds."""

    prepare_ms: float
    """Preprocessing of the raw examples, in memory."""
    infer_ms: float
    answer_ms: float
    """Postprocessing: softmax, suppression of boxes, masks."""
    end_to_end_ms: float
    """Of whole calls; not the sum of the medians."""
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What opening a variant costs, seen in a fresh process that did nothing else."""

    load_ms: float
    """From asking for the engine to an opened variant, the import of the runtime included."""
    first_ms: float
    """The first call."""
    growth_mb: float
    """Growth of resident memory by the runtime, the variant and what its calls need, in MiB."""
    peak_mb: float
    """Largest resident memory of the whole process, Python included, in MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Speed and size of a variant on one machine. Times in milliseconds."""

    variant: str
    target: str
    machine: str
    batch: int
    samples: int
    p50_ms: float
    p90_ms: float | None
    """None where there are too few samples to support it."""
    p99_ms: float | None
    mean_ms: float
    ci95_ms: tuple[float, float]
    """Bootstrap interval of the median."""
    throughput_per_s: float
    load_ms: float
    memory_mb: float
    """Growth of the process's resident memory from opening the variant and running it, in MiB."""
    size_bytes: int
    engine: EngineInfo
    steady: bool
    """Whether a steady state was seen before measuring."""
    at: str
    p95_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    threads: int = 0
    """Threads that were asked for; 0 lets the runtime decide."""
    noise: float | None = None
    """How far the variant was from itself in this run (A/A), relative to the median; smaller differences are none."""
    latencies_ms: tuple[float, ...] = ()
    """Every call in rising order, or 400 evenly spaced order statistics of more calls."""
    peak_memory_mb: float | None = None
    """Largest resident memory of a fresh process that runs only this variant, in MiB."""
    first_ms: float | None = None
    """The first call in that process."""
    stages: Stages | None = None
    run: str = ""
    """Measurements with the same one were made side by side, call by call in turn."""
    void: str | None = None
    """Why this is no measure of the variant's speed, such as a silent fallback to another device; None when it is."""
    schema: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WhyNot:
    """Why a variant was not chosen."""

    target: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One recommendation, the Pareto set, and why each other variant lost."""

    target: str | None
    """The recommended variant's target, or None when nothing fits."""
    reason: str
    pareto: tuple[str, ...]
    why_nots: tuple[WhyNot, ...]
    measured: bool
    """Whether the times were measured on the machine in question."""
    notes: tuple[str, ...] = ()
    """What to know before the numbers are believed."""
