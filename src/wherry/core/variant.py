"""Target, variant, receipt: what to build, what was built, and how."""

from dataclasses import dataclass, field
from typing import Any, Literal

from wherry.core.codec import document_digest
from wherry.core.digest import FileRef
from wherry.core.errors import UsageError

PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic", "int8-weights")
"""`int8` has static ranges from a calibration set; `int8-dynamic` finds the ranges of activations while it runs;
`int8-weights` stores weights in eight bits and computes in floating point."""
METADATA_FILE = "deployment_metadata.json"
"""Lies beside a variant's main file where the format has room beside it; says how to run the file."""
PRUNE = "prune"
"""Option that every format knows: the program's weights were thinned out before this target was built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to build: a format, a precision and the format's own options."""

    format: str
    precision: str = "fp32"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`onnx-int8`, and `onnx-int8+pruned` with the option `prune`; other options are not part of it."""
        return self.plain_name + ("+pruned" if PRUNE in self.options else "")

    @property
    def plain_name(self) -> str:
        """`onnx-int8`, whatever the options are."""
        return f"{self.format}-{self.precision}"

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read `onnx-int8` or `onnx-int8-dynamic`; a bare format means fp32. Whether the format exists is not asked.

        Raises:
            UsageError: the precision is unknown.
        """
        name, dash, precision = text.partition("-")
        if not dash:
            return cls(format=text)
        if precision not in PRECISIONS:
            msg = f"{text!r} is not a target: {precision!r} is not a precision."
            raise UsageError(msg, next_step=f"Use one of {', '.join(PRECISIONS)}; `wherry targets` lists the formats.")
        return cls(format=name, precision=precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationManifest:
    """Which examples set the ranges of an int8 variant."""

    sha256: str
    samples: int
    source: str
    per_class: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seed: int | None = None
    """Of the random choice of the samples, or None when all that were given are used."""
    stability: float | None = None
    """Largest relative difference of the input's ranges between two halves of the set; None for a single example."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Files that were left out, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """How a variant was made: enough to make it again and to see what was overridden."""

    created_at: str
    source: str
    """sha256 of what the target started from: the program, or another variant's main file."""
    tools: dict[str, str]
    requested: dict[str, Any]
    effective: dict[str, Any]
    overrides: tuple[str, ...] = ()
    """One sentence for each option that was not followed to the letter."""
    calibration: CalibrationManifest | None = None
    seconds: float = 0.0
    host: str = ""
    verified: Literal["none", "emulator", "hardware"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Files made for a target by named tools; says nothing about correctness."""

    model: str
    version: int
    version_digest: str
    target: Target
    engine: str
    """Member of the engine family that runs it, such as `onnxruntime`."""
    files: tuple[FileRef, ...]
    """The first is the main file; the others lie beside it under these names."""
    batch: int | None
    """Fixed batch size, or None for a dynamic one."""
    receipt: Receipt
    schema: int = 1

    @property
    def name(self) -> str:
        """The target's name."""
        return self.target.name

    @property
    def digest(self) -> str:
        """What was built, without when and how: the digest of the files and of what is needed to run them."""
        return document_digest([self.version_digest, self.target, self.engine, self.batch, self.files])

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)
