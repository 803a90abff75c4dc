"""The proof as a pure function of a JSON document, so that a child process can run it beside a live model."""

from dataclasses import dataclass
from pathlib import Path

from wherry.core.device import DeviceType
from wherry.core.model import ModelSpec
from wherry.core.report import Report, Where
from wherry.core.variant import Variant
from wherry.proof.golden import load_golden
from wherry.proof.prove import Subject, prove
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
