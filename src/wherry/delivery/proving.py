"""Third chapter: each variant is proven; only what passed goes on."""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wherry.core.errors import ChildError, NotFoundError, ProofRefusedError, WherryError
from wherry.core.model import Version
from wherry.core.report import Report, Rung
from wherry.core.variant import Variant

if TYPE_CHECKING:
    from wherry.jobs.pool import Jobs, Run
    from wherry.proof.job import ProofJob
    from wherry.registry import Registry

T = TypeVar("T")

_PROOF_TIMEOUT_S = 900.0


def prove(
    registry: "Registry",
    ref: str,
    targets: Sequence[str] | None = None,
    *,
    ladder: bool = False,
    jobs: "Jobs | None" = None,
    on_report: Callable[[Report], None] | None = None,
) -> list[Report]:
    """Run each variant's proof in a child process and keep the reports; a failed proof is a report, not an error.

    Args:
        registry: where the version is and the reports go.
        ref: `NAME@v2` or `NAME@alias`.
        targets: which variants; None proves all.
        ladder: climb the ladder of a variant that passes, too; one that fails is climbed in any case.
        jobs: where the work is done and within which limits; by default in two child processes here.
        on_report: told each report.

    Raises:
        NotFoundError: an unknown version or variant.
    """
    from wherry.jobs.pool import Jobs, opened

    jobs, version = jobs or Jobs(), registry.version(ref)
    variants = variants_of(registry, version, targets)

    def one(variant: Variant, run: "Run") -> Report:
        report = _prove_one(registry, version, variant, run, jobs, ladder=ladder)
        registry.put_report(variant, report)
        if on_report:
            on_report(report)
        return report

    with opened(jobs) as pool, ThreadPoolExecutor(pool.parallel) as threads:
        return list(threads.map(lambda variant: one(variant, pool.run), variants))


def proven_variant(registry: "Registry", version: Version, target: str | None) -> Variant:
    """Return a variant of the version whose newest proof is a pass.

    Raises:
        NotFoundError: no such variant.
        ProofRefusedError: it has no passed proof.
    """
    if target is None:
        msg = f"No proven variant of {version.name} fits."
        raise NotFoundError(msg, next_step=f"Run `wherry prove {version.name}` and `wherry bench {version.name}`.")
    variant = registry.variant(version.model, version.number, target)
    if not has_passed(registry, variant):
        msg = f"{target} of {version.name} has no passed proof, so it is not used."
        raise ProofRefusedError(msg, next_step=f"Run `wherry prove {version.name} --target {target}`.")
    return variant


def variants_of(registry: "Registry", version: Version, targets: Sequence[str] | None) -> list[Variant]:
    """Return the variants of those targets, or all of them.

    Raises:
        NotFoundError: one of them was not built, or there are none.
    """
    if targets:
        return [registry.variant(version.model, version.number, name) for name in targets]
    found = registry.variants(version.model, version.number)
    if not found:
        msg = f"{version.name} has no variants yet."
        raise NotFoundError(msg, next_step=f"Run `wherry export {version.name} --all` first.")
    return found


def _prove_one(
    registry: "Registry", version: Version, variant: Variant, run: "Run", jobs: "Jobs", *, ladder: bool
) -> Report:
    from wherry.proof.job import ProofJob
    from wherry.proof.prove import crashed
    from wherry.runtime.engines import engine_class

    evaluation = version.evaluation
    with tempfile.TemporaryDirectory(dir=registry.root) as scratch:
        main = registry.materialize(variant.files, Path(scratch) / "variant")
        job = ProofJob(
            variant=variant,
            main=str(main),
            spec=version.spec,
            golden=str(registry.blob_path(version.golden.sha256)),
            golden_sha256=version.golden.sha256,
            where="build",
            evaluation=None if evaluation is None else str(registry.blob_path(evaluation.sha256)),
            evaluation_sha256=None if evaluation is None else evaluation.sha256,
            device=engine_class(variant.engine).devices[0],
        )
        try:
            report = run(
                "wherry.proof.job:prove_release",
                job,
                Report,
                timeout_s=jobs.timeout_s or _PROOF_TIMEOUT_S,
                memory_bytes=jobs.memory_bytes,
            )
        except ChildError as error:  # what kills its process would kill the ladder's too
            return crashed(variant, version.golden.sha256, error.message, where="build")
        return report if report.passed and not ladder else _climbed(registry, version, report, job, Path(scratch))


def _climbed(registry: "Registry", version: Version, report: Report, job: "ProofJob", scratch: Path) -> Report:
    """Return the report with the ladder that was climbed; a ladder that cannot be climbed is written down as a gap."""
    from wherry.jobs.child import run_in_child
    from wherry.proof.climbing import LadderJob
    from wherry.proof.ladder import with_ladder

    program = registry.materialize((version.program,), scratch / "program")
    converted = converted_of(registry, version, job.variant)
    ladder = LadderJob(
        variant=job.variant,
        main=job.main,
        program=str(program),
        program_engine=program_engine(version),
        spec=job.spec,
        golden=job.golden,
        golden_sha256=job.golden_sha256,
        converted=converted,
        converted_main="" if converted is None else str(registry.materialize(converted.files, scratch / "converted")),
    )
    try:
        rungs = run_in_child("wherry.proof.climbing:climb_ladder", ladder, list[Rung], timeout_s=_PROOF_TIMEOUT_S)
    except WherryError as error:
        return replace(report, not_covered=(*report.not_covered, f"the ladder: {error.message}"))
    return with_ladder(report, rungs)


def program_engine(version: Version) -> str:
    """Return the engine that runs the version's program: ONNX Runtime for an ONNX file, PyTorch for the others."""
    return "onnxruntime" if version.program.path.endswith(".onnx") else "torch"


def converted_of(registry: "Registry", version: Version, variant: Variant) -> Variant | None:
    """Return the fp32 variant that this one was made from, or else the one of its format; None where there is none."""
    variants = registry.variants(version.model, version.number)
    made_from = {one.files[0].sha256: one for one in variants if one.digest != variant.digest}
    parent = made_from.pop(variant.receipt.source, None)
    while parent is not None and parent.target.precision != "fp32":
        parent = made_from.pop(parent.receipt.source, None)
    same = (one for one in variants if one.target.format == variant.target.format and one.target.precision == "fp32")
    found = parent or next(same, None)
    return None if found is None or found.digest == variant.digest else found


def has_passed(registry: "Registry", variant: Variant) -> bool:
    """Return whether the newest proof of the variant is a pass."""
    report = newest(registry.reports(variant.digest))
    return report is not None and report.passed


def newest(documents: Sequence[T]) -> T | None:
    """Return the first of documents that come newest first, or None."""
    return documents[0] if documents else None
