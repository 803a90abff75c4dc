"""Proof and benchmark as pure functions of a JSON document, so that a child process can run them."""

from dataclasses import dataclass
from pathlib import Path

from wherry.core.device import DeviceType
from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec
from wherry.core.report import Measurement, Report, Where
from wherry.core.variant import Variant
from wherry.proof.benchmark import Runner, benchmark
from wherry.proof.golden import load_golden
from wherry.proof.prove import Subject, prove
from wherry.runtime.interface import EngineOptions
from wherry.runtime.preprocess import prepare


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
    batch: int = 1
    seconds: float = 1.0
    """Time for each variant once it is warm."""
    device: DeviceType = "cpu"
    threads: int = 0


def measure_variants(job: MeasureJob) -> list[Measurement]:
    """Benchmark the variants that `job` names, interleaved, on examples of the golden set.

    Raises:
        BadInputError: the golden set cannot be read, or has fewer samples than the batch.
        EngineError: a variant cannot be opened or run.
    """
    golden = load_golden(Path(job.golden), job.golden_sha256)
    if len(golden) < job.batch:
        msg = f"The golden set has {len(golden)} samples, too few for a batch of {job.batch}."
        raise BadInputError(msg, next_step="Choose a smaller batch.")
    options = EngineOptions(device=job.device, threads=job.threads)
    runners = [
        Runner(variant=variant, main=Path(main), options=options)
        for variant, main in zip(job.variants, job.mains, strict=True)
    ]
    return benchmark(runners, job.spec, prepare(golden.raw[: job.batch], job.spec), seconds=job.seconds)
