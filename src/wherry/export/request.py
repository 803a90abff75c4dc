"""What is asked of an export and what comes of it; small JSON documents, as they cross into a child process."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.core.model import ModelSpec
from wherry.core.variant import CalibrationManifest, Target, Variant
from wherry.export.accuracy import AccuracyGoal

DEFAULT_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """One target of one version."""

    model: str
    version: int
    version_digest: str
    spec: ModelSpec
    target: Target
    program: str
    """Path of the captured program."""
    program_sha256: str
    program_format: str = "pt2"
    """`pt2` or `onnx`."""
    calibration: str | None = None
    """Path of the calibration set; only some precisions look at it."""
    calibration_manifest: CalibrationManifest | None = None
    accuracy: AccuracyGoal | None = None
    """How much an eight-bit variant may lose; only some precisions look at it."""
    architecture: str = ""
    """Digest of the network's structure without its weights."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Training facts of the version, as plain data."""
    timeout_s: float = DEFAULT_TIMEOUT_S
    memory_bytes: int | None = None
    """Resident memory above which this target is given up, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOutcome:
    """What came of one request: a variant and the folder with its files, or one sentence why not."""

    target: Target
    variant: Variant | None = None
    folder: Path | None = None
    """Holds the variant's files under their names, `variant.json` and `export.log`."""
    error: str | None = None
    next_step: str | None = None
    missing: bool = False
    """Whether it failed only because a toolchain or an extra is not installed."""
    seconds: float = 0.0
    """Wall time of this call, from the start of the target's work; near zero when it was reused."""
    reused: bool = False
