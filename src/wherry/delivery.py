"""The whole road of the training site as short functions in reading order.

    register -> promote -> export -> prove -> bench -> choose -> bundle

Each takes the registry and the words of `wherry.core`, and keeps what it made in the registry, so that any later step
can be run in another process on another day. The device's half of the road is `wherry.agent`.
"""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wherry.core.digest import FileRef
from wherry.core.errors import ChildError, NotFoundError, ProofRefusedError, SpecMismatchError
from wherry.core.model import Event, Lineage, ModelSpec, Version, VersionDraft, VersionRef, check_name
from wherry.core.report import Choice, Measurement, Report
from wherry.core.variant import CalibrationManifest, Target, Variant

if TYPE_CHECKING:
    from torch import nn

    from wherry.bundle.pack import Bundle
    from wherry.bundle.trust.sign import SignedBundle
    from wherry.export.request import ExportOutcome
    from wherry.proof.choose import Constraints
    from wherry.proof.record import Examples
    from wherry.registry import Registry

T = TypeVar("T")

_PROOF_TIMEOUT_S = 900.0
_PARALLEL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a training run hands in to become a version."""

    model: str
    network: "Callable[[], nn.Module]"
    """Builds the network without its weights."""
    checkpoint: Path
    spec: ModelSpec
    golden: "Examples"
    """Real examples that will travel with the model."""
    lineage: Lineage
    metrics: dict[str, float] = field(default_factory=dict)
    evaluation: "Examples | None" = None
    """Held-out examples with labels; they stay at the training site."""


def register(registry: "Registry", submission: Submission, *, who: str, why: str) -> tuple[Version, bool]:
    """Capture the network as a program, record its golden set, and give it a number.

    Returns:
        The version, and whether it is new: the same checkpoint with the same spec and data is not registered twice.

    Raises:
        CheckpointError: the checkpoint cannot be opened.
        ScanRefusedError: it holds something that was not allowed by name.
        SpecMismatchError: the spec contradicts the network.
        StorageError: the registry cannot be written.
    """
    from wherry.checkpoint.capture import capture
    from wherry.checkpoint.opening import load_into, open_checkpoint
    from wherry.proof.tasks import task_metric

    check_name(submission.model, "a model's name")
    _check_task(task_metric(submission.spec.task).check(submission.spec))
    checkpoint = open_checkpoint(submission.checkpoint)
    known = _registered(registry, submission, checkpoint.sha256)
    if known is not None:
        return known, False
    network = submission.network()
    load_into(network, checkpoint)
    with tempfile.TemporaryDirectory() as scratch:
        program = capture(network, submission.spec, Path(scratch) / "program.pt2")
        draft = VersionDraft(
            model=submission.model,
            spec=submission.spec,
            program=registry.put_file(program.path, "program.pt2"),
            checkpoint=(registry.put_file(submission.checkpoint, "checkpoint" + submission.checkpoint.suffix),),
            golden=_record(registry, program.path, submission.spec, submission.golden, "golden.npz"),
            lineage=submission.lineage,
            metrics=submission.metrics,
            architecture=program.architecture,
            tools=program.tools,
            evaluation=None
            if submission.evaluation is None
            else _record(registry, program.path, submission.spec, submission.evaluation, "evaluation.npz"),
        )
    return registry.register(draft, who=who, why=why), True


def promote(registry: "Registry", ref: str, alias: str, *, who: str, why: str) -> Event:
    """Point an alias at a version, with an event that says who, when and why.

    Raises:
        NotFoundError: no such version.
        ConflictError: the alias moved meanwhile.
    """
    return registry.promote(VersionRef.parse(ref), alias, who=who, why=why)


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
        report = _newest(registry.reports(variant.digest))
        measurement = _newest(registry.measurements(variant.digest))
        if report is not None and not report.passed:
            refused.append(report)
        elif report is not None and measurement is not None:
            candidates.append(Candidate(report=report, measurement=measurement))
    if not candidates and not refused:
        msg = f"No variant of {version.name} was proven and measured yet."
        raise NotFoundError(msg, next_step=f"Run `wherry prove {version.name}` and `wherry bench {version.name}`.")
    return decide(candidates, refused, constraints)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """How a bundle is to be made."""

    product: str
    """What its files are called on a device."""
    trust: Path
    """Folder of the publisher's keys and metadata, made by `wherry keys init`."""
    out: Path
    """Folder for the signed bundle."""
    who: str
    why: str
    expires_days: int = 90


def bundle(registry: "Registry", ref: str, shipment: Shipment) -> "SignedBundle":
    """Pack every proven variant of a version into one signed file, as the product's next release.

    Raises:
        NotFoundError: an unknown version.
        ProofRefusedError: no variant has a passed proof.
        SignatureError: the keys are missing or unusable.
    """
    from wherry.bundle.trust.sign import sign

    version = registry.version(ref)
    now = datetime.now(UTC).replace(microsecond=0)
    with tempfile.TemporaryDirectory(dir=registry.root) as scratch:
        packed = stage(registry, version, shipment, Path(scratch), now)
        name = f"{shipment.product}_v{version.number}_auto_all.zip"
        destination = shipment.out / f"release-{packed.manifest.release}" / name
        return sign(packed, shipment.trust, destination, now=now, expires_days=shipment.expires_days)


def stage(registry: "Registry", version: Version, shipment: Shipment, folder: Path, now: datetime) -> "Bundle":
    """Lay out an unsigned bundle in `folder`: the recommended variant first, weights once, everything re-hashed.

    Raises:
        ProofRefusedError: no variant has a passed proof.
        DigestMismatchError: a file is not what was proven.
    """
    from wherry.bundle.pack import BundleDraft, PackEntry, pack
    from wherry.bundle.profiles import deployment_profiles
    from wherry.proof.prove import accept

    entries = []
    for variant in _recommended_first(registry, version):
        report = _newest(registry.reports(variant.digest))
        if report is None or not report.passed:
            continue
        files = folder / "variants" / variant.name
        registry.materialize(variant.files, files)
        measurement = _newest(registry.measurements(variant.digest))
        entries.append(PackEntry(proven=accept(variant, report), files=files, measurement=measurement))
    if not entries:
        msg = f"{version.name} has no proven variant, so there is nothing to ship."
        raise ProofRefusedError(msg, next_step=f"Run `wherry export {version.name} --all`, then `wherry prove`.")
    event = registry.next_release(
        check_name(shipment.product, "a product's name"),
        version.model,
        version.number,
        who=shipment.who,
        why=shipment.why,
    )
    draft = BundleDraft(
        product=shipment.product,
        model=version.model,
        version=version,
        release=int(event.details["release"]),
        entries=tuple(entries),
        golden=registry.blob_path(version.golden.sha256),
        profiles=deployment_profiles(shipment.product, [entry.proven.variant for entry in entries]),
        created_at=now.isoformat(),
        notes=shipment.why,
    )
    return pack(draft, folder / "bundle")


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


def _check_task(reason: str | None) -> None:
    if reason is not None:
        msg = f"The spec does not fit its task: {reason}."
        raise SpecMismatchError(msg, next_step="Mend the spec, or name another task.")


def _registered(registry: "Registry", submission: Submission, checkpoint: str) -> Version | None:
    if submission.model not in registry.models():
        return None
    for version in registry.versions(submission.model):
        same_weights = [file.sha256 for file in version.checkpoint] == [checkpoint]
        if same_weights and version.spec == submission.spec and version.lineage.dataset == submission.lineage.dataset:
            return version
    return None


def _record(registry: "Registry", program: Path, spec: ModelSpec, examples: "Examples", name: str) -> FileRef:
    from wherry.proof.record import record

    return registry.put_bytes(name, record(program, spec, examples).to_bytes())


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
    report = _newest(registry.reports(variant.digest))
    return report is not None and report.passed


def _recommended_first(registry: "Registry", version: Version) -> list[Variant]:
    variants = registry.variants(version.model, version.number)
    speed = {v.digest: m.p50_ms for v in variants if (m := _newest(registry.measurements(v.digest)))}
    return sorted(variants, key=lambda v: (speed.get(v.digest, float("inf")), v.name))


def _newest(documents: Sequence[T]) -> T | None:
    return documents[0] if documents else None
