"""Proof and benchmark as pure functions of a JSON document, so that a child process can run them."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from wherry.core.device import DeviceType
from wherry.core.errors import BadInputError
from wherry.core.job import Luggage
from wherry.core.model import ModelSpec
from wherry.core.report import Footprint, Measurement, Report, Where
from wherry.core.variant import Variant
from wherry.proof.benchmark import Runner, benchmark
from wherry.proof.footprint import footprint
from wherry.proof.golden import load_golden
from wherry.proof.prove import Subject, prove
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import EngineOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofJob:
    """What to prove, by path and digest."""

    variant: Variant
    main: str
    """Path of the variant's main file."""
    spec: ModelSpec
    golden: str
    """Path of the golden set."""
    golden_sha256: str
    where: Where
    evaluation: str | None = None
    """Path of a further golden set whose labels give the task's metric."""
    evaluation_sha256: str | None = None
    device: DeviceType = "cpu"
    threads: int = 0

    def luggage(self) -> Luggage:
        """Return what this job reads."""
        sets = (self.golden, *(() if self.evaluation is None else (self.evaluation,)))
        if len(self.variant.files) == 1:
            return Luggage(files=(self.main, *sets))
        depth = len(PurePosixPath(self.variant.files[0].path).parts)
        return Luggage(files=sets, folders=(str(Path(self.main).parents[depth - 1]),))


def prove_release(job: ProofJob) -> Report:
    """Run the proof that `job` names.

    Raises:
        BadInputError: a golden set cannot be read.
        DigestMismatchError: a golden set is not the recorded one.
    """
    evaluation = None
    if job.evaluation is not None and job.evaluation_sha256 is not None:
        evaluation = load_golden(Path(job.evaluation), job.evaluation_sha256)
    subject = Subject(
        variant=job.variant,
        main=Path(job.main),
        spec=job.spec,
        golden=load_golden(Path(job.golden), job.golden_sha256),
        golden_sha256=job.golden_sha256,
        evaluation=evaluation,
    )
    return prove(subject, where=job.where, options=EngineOptions(device=job.device, threads=job.threads)).report


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureJob:
    """What to measure side by side, by path."""

    variants: tuple[Variant, ...]
    mains: tuple[str, ...]
    """Path of each variant's main file, in the same order."""
    spec: ModelSpec
    golden: str
    golden_sha256: str
    batches: tuple[int, ...] = (1,)
    """Samples in one call; examples are repeated where the golden set has too few."""
    seconds: float = 1.0
    """Time for each variant and batch size once it is warm."""
    device: DeviceType = "cpu"
    threads: int = 0
    footprints: tuple[Footprint, ...] = ()
    """Of each variant, seen in a process of its own; empty measures them in this process."""

    def __post_init__(self) -> None:
        """Check the batch sizes.

        Raises:
            BadInputError: there is none, or one is below 1.
        """
        if not self.batches or min(self.batches) < 1:
            msg = f"Batch sizes {list(self.batches)} cannot be measured: at least one of 1 or more is needed."
            raise BadInputError(msg)


def measure_variants(job: MeasureJob) -> list[Measurement]:
    """Benchmark the variants that `job` names, interleaved, on examples of the golden set.

    Raises:
        BadInputError: the golden set cannot be read.
        EngineError: a variant cannot be opened or run.
    """
    golden = load_golden(Path(job.golden), job.golden_sha256)
    options = EngineOptions(device=job.device, threads=job.threads)
    seen = job.footprints or (None,) * len(job.variants)
    runners = [
        Runner(variant=variant, main=Path(main), options=options, footprint=one)
        for variant, main, one in zip(job.variants, job.mains, seen, strict=True)
    ]
    return benchmark(runners, job.spec, golden.raw[: max(job.batches)], batches=job.batches, seconds=job.seconds)


def measure_footprint(job: MeasureJob) -> Footprint:
    """Open the one variant that `job` names, call it at the largest batch size, and return what that cost.

    Meant for a process of its own.

    Raises:
        BadInputError: the golden set cannot be read.
        EngineError: the variant cannot be opened or run.
    """
    raw = load_golden(Path(job.golden), job.golden_sha256).raw[: max(job.batches)]
    variant, options = job.variants[0], EngineOptions(device=job.device, threads=job.threads)
    kind = engine_class(variant.engine)
    batch = np.resize(raw, (max(job.batches), *raw.shape[1:]))
    found, engine = footprint(kind, Path(job.mains[0]), job.spec, batch, variant.batch, options)
    engine.close()
    return found
