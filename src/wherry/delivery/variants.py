"""Second chapter: a version becomes variants; each is proven and measured, and one is recommended."""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wherry.core.errors import ChildError, NotFoundError, ProofRefusedError
from wherry.core.model import Version
from wherry.core.report import Choice, Measurement, Report
from wherry.core.variant import CalibrationManifest, Target, Variant

if TYPE_CHECKING:
    from wherry.export.request import ExportOutcome
    from wherry.proof.choose import Constraints
    from wherry.proof.record import Examples
    from wherry.registry import Registry

T = TypeVar("T")

_PROOF_TIMEOUT_S = 900.0
_PARALLEL = 2


def export(
    registry: "Registry",
    ref: str,
    targets: Sequence[Target],
    *,
    calibration: "Examples | None" = None,
    calibration_source: str = "",
    on_event: Callable[[str, str], None] | None = None,
) -> "list[ExportOutcome]":
    """Build each target in a child process of its own, side by side; one that fails loses nothing of the others.

    Args:
        registry: where the version is and the variants go.
        ref: `NAME@v2` or `NAME@alias`.
        targets: what to build; what another one starts from is built as well.
        calibration: real examples for int8 targets; none of them may be among those that the proof uses.
        calibration_source: where they come from, for the reader of a receipt.
        on_event: told a target's name and its new state.

    Raises:
        NotFoundError: an unknown version or format.
        BadInputError: the calibration examples do not fit, or overlap with the evaluation set.
    """
    from wherry.export.request import ExportRequest
    from wherry.export.run import export_all
    from wherry.jobs.child import run_in_child

    version = registry.version(ref)
    calibrated = None if calibration is None else _calibrate(registry, version, calibration, calibration_source)
    requests = [
        ExportRequest(
            model=version.model,
            version=version.number,
            version_digest=version.digest,
            spec=version.spec,
            target=target,
            program=str(registry.blob_path(version.program.sha256)),
            program_sha256=version.program.sha256,
            calibration=None if calibrated is None else str(calibrated[0]),
            calibration_manifest=None if calibrated is None else calibrated[1],
        )
        for target in targets
    ]
    cache = registry.root / "cache" / "exports"
    outcomes = export_all(requests, cache=cache, run=run_in_child, parallel=_PARALLEL, on_event=on_event)
    for outcome in outcomes:
        if outcome.variant is not None and outcome.folder is not None:
            for file in outcome.variant.files:
                registry.put_file(outcome.folder / file.path, file.path)
            registry.put_variant(outcome.variant)
    return outcomes


def prove(
    registry: "Registry",
    ref: str,
    targets: Sequence[str] | None = None,
    *,
    on_report: Callable[[Report], None] | None = None,
) -> list[Report]:
    """Run each variant's proof in a child process and keep the reports; a failed proof is a report, not an error.

    Raises:
        NotFoundError: an unknown version or variant.
    """
    version = registry.version(ref)
    variants = _variants(registry, version, targets)

    def one(variant: Variant) -> Report:
        report = _prove_one(registry, version, variant)
        registry.put_report(variant, report)
        if on_report:
            on_report(report)
        return report

    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(one, variants))


def bench(
    registry: "Registry", ref: str, targets: Sequence[str] | None = None, *, batch: int = 1, seconds: float = 1.0
) -> list[Measurement]:
    """Measure the proven variants side by side on this machine, and keep the numbers.

    Raises:
        NotFoundError: an unknown version or variant.
        ProofRefusedError: none of them is proven.
    """
    from wherry.jobs.child import run_in_child
    from wherry.proof.job import MeasureJob

    version = registry.version(ref)
    variants = [v for v in _variants(registry, version, targets) if _passed(registry, v)]
    if not variants:
        msg = f"{version.name} has no proven variant to measure."
        raise ProofRefusedError(msg, next_step=f"Run `wherry prove {version.name}` first.")
    with tempfile.TemporaryDirectory(dir=registry.root) as scratch:
        mains = tuple(str(registry.materialize(v.files, Path(scratch) / v.name)) for v in variants)
        job = MeasureJob(
            variants=tuple(variants),
            mains=mains,
            spec=version.spec,
            golden=str(registry.blob_path(version.golden.sha256)),
            golden_sha256=version.golden.sha256,
            batch=batch,
            seconds=seconds,
        )
        timeout = _PROOF_TIMEOUT_S + seconds * len(variants)
        found = run_in_child("wherry.proof.job:measure_variants", job, list[Measurement], timeout_s=timeout)
    for measurement in found:
        registry.put_measurement(measurement)
    return found


def choose(registry: "Registry", ref: str, constraints: "Constraints | None" = None) -> Choice:
    """Say which variant this machine should use and why the others lost, from the newest proofs and measurements.

    Raises:
        NotFoundError: an unknown version, or nothing was measured yet.
    """
    from wherry.proof.choose import Candidate
    from wherry.proof.choose import choose as decide

    version = registry.version(ref)
    candidates, refused = [], []
    for variant in registry.variants(version.model, version.number):
        report = newest(registry.reports(variant.digest))
        measurement = newest(registry.measurements(variant.digest))
        if report is not None and not report.passed:
            refused.append(report)
        elif report is not None and measurement is not None:
            candidates.append(Candidate(report=report, measurement=measurement))
    if not candidates and not refused:
        msg = f"No variant of {version.name} was proven and measured yet."
        raise NotFoundError(msg, next_step=f"Run `wherry prove {version.name}` and `wherry bench {version.name}`.")
    return decide(candidates, refused, constraints)


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
    if not _passed(registry, variant):
        msg = f"{target} of {version.name} has no passed proof, so it is not served."
        raise ProofRefusedError(msg, next_step=f"Run `wherry prove {version.name} --target {target}`.")
    return variant


def _calibrate(
    registry: "Registry", version: Version, examples: "Examples", source: str
) -> tuple[Path, CalibrationManifest]:
    from wherry.export.calibration import calibration_from_arrays, check_disjoint
    from wherry.proof.golden import GoldenSet

    for file in (version.golden, version.evaluation):
        if file is not None:
            check_disjoint(examples.raw, GoldenSet.from_bytes(registry.read(file.sha256)).raw)
    folder = registry.root / "cache" / "calibration"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{version.model}-v{version.number}.npz"
    labels = () if examples.labels is None else examples.labels
    return path, calibration_from_arrays(examples.raw, labels, version.spec.class_names, source, path)


def _variants(registry: "Registry", version: Version, targets: Sequence[str] | None) -> list[Variant]:
    if targets:
        return [registry.variant(version.model, version.number, name) for name in targets]
    found = registry.variants(version.model, version.number)
    if not found:
        msg = f"{version.name} has no variants yet."
        raise NotFoundError(msg, next_step=f"Run `wherry export {version.name} --all` first.")
    return found


def _prove_one(registry: "Registry", version: Version, variant: Variant) -> Report:
    from wherry.jobs.child import run_in_child
    from wherry.proof.job import ProofJob
    from wherry.proof.prove import crashed

    evaluation = version.evaluation
    with tempfile.TemporaryDirectory(dir=registry.root) as scratch:
        job = ProofJob(
            variant=variant,
            main=str(registry.materialize(variant.files, Path(scratch))),
            spec=version.spec,
            golden=str(registry.blob_path(version.golden.sha256)),
            golden_sha256=version.golden.sha256,
            where="build",
            evaluation=None if evaluation is None else str(registry.blob_path(evaluation.sha256)),
            evaluation_sha256=None if evaluation is None else evaluation.sha256,
        )
        try:
            return run_in_child("wherry.proof.job:prove_release", job, Report, timeout_s=_PROOF_TIMEOUT_S)
        except ChildError as error:
            return crashed(variant, version.golden.sha256, error.message, where="build")


def _passed(registry: "Registry", variant: Variant) -> bool:
    report = newest(registry.reports(variant.digest))
    return report is not None and report.passed


def newest(documents: Sequence[T]) -> T | None:
    """Return the first of documents that come newest first, or None."""
    return documents[0] if documents else None
