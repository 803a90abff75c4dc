"""The ladder of one variant as a pure function of a JSON document, so that a child process can climb it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wherry.core.device import DeviceType
from wherry.core.model import ModelSpec
from wherry.core.report import Rung, RungName
from wherry.core.variant import Variant
from wherry.proof.compare import tolerance_for
from wherry.proof.golden import load_golden
from wherry.proof.ladder import Step, climb, subject_of
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import Engine, EngineOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderJob:
    """What to climb, by path and digest."""

    variant: Variant
    main: str
    """Path of the variant's main file."""
    program: str
    """Path of the program that the version was registered with."""
    program_engine: str
    """Member of the engine family that runs it."""
    spec: ModelSpec
    golden: str
    golden_sha256: str
    converted: Variant | None = None
    """The fp32 variant that this one comes from, or that has its format; None where there is none."""
    converted_main: str = ""
    device: DeviceType = "cpu"
    threads: int = 0


def climb_ladder(job: LadderJob) -> list[Rung]:
    """Climb the ladder that `job` names.

    Raises:
        BadInputError: the golden set cannot be read.
        DigestMismatchError: it is not the recorded one.
    """
    golden = load_golden(Path(job.golden), job.golden_sha256)
    return list(climb(golden, job.spec, [_program(job), *_conversion(job), *_engine(job), *_device(job)]))


def _program(job: LadderJob) -> Step:
    options = EngineOptions(threads=job.threads)
    return Step(
        rung="program",
        subject=f"the program on {job.program_engine}",
        tolerance=tolerance_for("fp32"),
        opened=lambda: engine_class(job.program_engine)(Path(job.program), job.spec, options=options),
    )


def _conversion(job: LadderJob) -> list[Step]:
    """Return the converted rung, and the quantized one where the precision is another than fp32."""
    fp32, mine = tolerance_for("fp32"), tolerance_for(job.variant.target.precision)
    if job.variant.target.precision == "fp32":
        return [_plain("converted", job.variant, job.main, job)]
    if job.converted is None:
        why = f"there is no fp32 variant that {job.variant.name} comes from"
        before = Step(rung="converted", subject="the converted network in fp32", tolerance=fp32, opened=why)
    else:
        before = _plain("converted", job.converted, job.converted_main, job)
    after = _plain("quantized", job.variant, job.main, job)
    return [before, Step(rung=after.rung, subject=after.subject, tolerance=mine, opened=after.opened)]


def _plain(rung: RungName, variant: Variant, main: str, job: LadderJob) -> Step:
    """Return a variant as its file says, without the runtime's own optimisations where they can be switched off."""
    reference = engine_class(variant.engine).has_reference
    return Step(
        rung=rung,
        subject=subject_of(variant, reference=reference),
        tolerance=tolerance_for("fp32"),
        opened=_opener(variant, main, job, EngineOptions(threads=job.threads, reference=reference)),
    )


def _engine(job: LadderJob) -> list[Step]:
    kind = engine_class(job.variant.engine)
    opened = _opener(job.variant, job.main, job, EngineOptions(threads=job.threads))
    why = f"{kind.name} has no mode without its own optimisations"
    return [
        Step(
            rung="engine",
            subject=subject_of(job.variant),
            tolerance=tolerance_for(job.variant.target.precision),
            opened=opened if kind.has_reference else why,
        )
    ]


def _device(job: LadderJob) -> list[Step]:
    options = EngineOptions(device=job.device, threads=job.threads)
    return [
        Step(
            rung="device",
            subject=subject_of(job.variant, device=job.device),
            tolerance=tolerance_for(job.variant.target.precision),
            opened="it is the processor of the rungs before"
            if job.device == "cpu"
            else _opener(job.variant, job.main, job, options),
        )
    ]


def _opener(variant: Variant, main: str, job: LadderJob, options: EngineOptions) -> Callable[[], Engine]:
    return lambda: engine_class(variant.engine)(Path(main), job.spec, batch=variant.batch, options=options)
