"""Fourth chapter: what is proven is measured side by side, and one variant is recommended."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.core.device import DeviceProfile
from wherry.core.errors import (
    ChildError,
    DeviceError,
    NotFoundError,
    ProofRefusedError,
    StorageError,
    ToolchainMissingError,
    WherryError,
)
from wherry.core.model import Version
from wherry.core.report import Choice, Footprint, Measurement, WhyNot
from wherry.core.variant import Variant
from wherry.delivery.proving import has_passed, newest, variants_of

if TYPE_CHECKING:
    from wherry.proof.choose import Constraints
    from wherry.proof.job import MeasureJob
    from wherry.registry import Registry

_BENCH_TIMEOUT_S = 900.0


def bench(
    registry: "Registry",
    ref: str,
    targets: Sequence[str] | None = None,
    *,
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (0,),
    seconds: float = 1.0,
    on_skipped: Callable[[str, WherryError], None] | None = None,
) -> list[Measurement]:
    """Measure the proven variants side by side on this machine, and keep the numbers.

    Each variant is first opened alone in a process of its own (load time, memory). Then, for each number of threads,
    one process opens all of them and calls them in turn, at one batch size after the other.

    Args:
        registry: where the variants are and the numbers go.
        ref: `NAME@v2` or `NAME@alias`.
        targets: which variants; by default all that are proven.
        batches: samples in one call.
        threads: of the runtime; 0 lets it decide.
        seconds: time for each variant, batch size and number of threads once it is warm.
        on_skipped: told a target that could not be opened or run alone, and why; the others are measured.

    Raises:
        NotFoundError: an unknown version or variant.
        ProofRefusedError: none of them is proven.
        BadInputError: a batch size is below 1.
        DeviceError: none of them could be opened and run, or the process that measured them ended.
    """
    version = registry.version(ref)
    variants = [v for v in variants_of(registry, version, targets) if has_passed(registry, v)]
    if not variants:
        msg = f"{version.name} has no proven variant to measure."
        raise ProofRefusedError(msg, next_step=f"Run `wherry prove {version.name}` first.")
    found: list[Measurement] = []
    with tempfile.TemporaryDirectory(dir=registry.root) as scratch:
        mains = tuple(str(registry.materialize(v.files, Path(scratch) / v.name)) for v in variants)
        for count in dict.fromkeys(threads):
            job = _job(registry, version, variants, mains, tuple(dict.fromkeys(batches)), count, seconds)
            found += _side_by_side(_alone(job, on_skipped), on_skipped)
    for measurement in found:
        registry.put_measurement(measurement)
    return found


def _job(
    registry: "Registry",
    version: Version,
    variants: list[Variant],
    mains: tuple[str, ...],
    batches: tuple[int, ...],
    threads: int,
    seconds: float,
) -> "MeasureJob":
    from wherry.proof.job import MeasureJob

    return MeasureJob(
        variants=tuple(variants),
        mains=mains,
        spec=version.spec,
        golden=str(registry.blob_path(version.golden.sha256)),
        golden_sha256=version.golden.sha256,
        batches=batches,
        seconds=seconds,
        threads=threads,
    )


def _alone(job: "MeasureJob", on_skipped: Callable[[str, WherryError], None] | None) -> "MeasureJob":
    """Open each variant in a process of its own, one after the other, and leave out those that fail there."""
    from wherry.jobs.child import run_in_child

    kept: list[tuple[Variant, str, Footprint]] = []
    first: WherryError | None = None
    for variant, main in zip(job.variants, job.mains, strict=True):
        one = replace(job, variants=(variant,), mains=(main,))
        try:
            seen = run_in_child("wherry.proof.job:measure_footprint", one, Footprint, timeout_s=_BENCH_TIMEOUT_S)
        except (DeviceError, ToolchainMissingError) as error:
            first = first or error
            if on_skipped:
                on_skipped(variant.name, error)
        else:
            kept.append((variant, main, seen))
    if not kept and first is not None:
        raise first
    variants, mains, footprints = zip(*kept, strict=True)
    return replace(job, variants=variants, mains=mains, footprints=footprints)


def _side_by_side(job: "MeasureJob", on_skipped: Callable[[str, WherryError], None] | None) -> list[Measurement]:
    """Measure all variants in one process; where that process dies, each in its own, so that none costs the others."""
    try:
        return _measured(job)
    except ChildError as error:
        if len(job.variants) == 1:
            raise
        first: WherryError = error
    found: list[Measurement] = []
    for variant, main, seen in zip(job.variants, job.mains, job.footprints, strict=True):
        one = replace(job, variants=(variant,), mains=(main,), footprints=(seen,))
        try:
            found += _measured(one)
        except (DeviceError, ToolchainMissingError) as error:
            if on_skipped:
                on_skipped(variant.name, error)
    if not found:
        raise first
    return found


def _measured(job: "MeasureJob") -> list[Measurement]:
    from wherry.jobs.child import run_in_child

    timeout = _BENCH_TIMEOUT_S + 25 * job.seconds * len(job.variants) * len(job.batches)
    return run_in_child("wherry.proof.job:measure_variants", job, list[Measurement], timeout_s=timeout)


def choose(
    registry: "Registry",
    ref: str,
    constraints: "Constraints | None" = None,
    *,
    device: DeviceProfile | None = None,
    batch: int = 1,
) -> Choice:
    """Say which variant a machine should use and why the others lost, from the newest proofs and measurements.

    Args:
        registry: where they are.
        ref: `NAME@v2` or `NAME@alias`.
        constraints: what a variant must keep to.
        device: the machine that it is for, as `wherry device detect --json` printed it; by default this one. What it
            cannot run is out, and numbers measured elsewhere are marked.
        batch: samples in one call; where a variant was not measured with it, its smallest batch counts.

    Raises:
        NotFoundError: an unknown version, or nothing was measured yet.
    """
    from wherry.proof.benchmark import machine_name
    from wherry.proof.choose import Candidate, Where
    from wherry.proof.choose import choose as decide

    version = registry.version(ref)
    candidates, refused, left_out = [], [], []
    for variant in registry.variants(version.model, version.number):
        report = newest(registry.reports(variant.digest))
        measurement = _relevant(registry.measurements(variant.digest), batch)
        if report is not None and not report.passed:
            refused.append(report)
        elif report is None or measurement is None:
            verb = "prove" if report is None else "bench"
            lacks = f"it was not {'proven' if report is None else 'measured'} yet: run `wherry {verb} {version.name}`"
            left_out.append(WhyNot(target=variant.name, reason=lacks))
        else:
            candidates.append(Candidate(report=report, measurement=measurement))
    if not candidates and not refused:
        msg = f"No variant of {version.name} was proven and measured yet."
        raise NotFoundError(msg, next_step=f"Run `wherry prove {version.name}` and `wherry bench {version.name}`.")
    where = Where(machine=machine_name() if device is None else f"{device.cpu or device.arch}", profile=device)
    return decide(candidates, refused, constraints, where=where, left_out=left_out)


def _relevant(measurements: Sequence[Measurement], batch: int) -> Measurement | None:
    """Return the newest measurement with that batch size, else the newest with the smallest one."""
    return min(measurements, key=lambda m: (m.batch != batch, m.batch), default=None)


def bench_page(registry: "Registry", ref: str, measurements: Sequence[Measurement] = ()) -> str:
    """Return measurements with their proofs and the choice as one self-contained HTML page.

    Args:
        registry: where the proofs are.
        ref: `NAME@v2` or `NAME@alias`.
        measurements: what to show; by default the newest of each variant.

    Raises:
        NotFoundError: an unknown version, or nothing was measured yet.
    """
    from wherry.delivery.page.page import Subject, render

    version = registry.version(ref)
    variants = registry.variants(version.model, version.number)
    shown = list(measurements) or [m for v in variants if (m := newest(registry.measurements(v.digest)))]
    if not shown:
        msg = f"No variant of {version.name} was measured yet."
        raise NotFoundError(msg, next_step=f"Run `wherry bench {version.name}` first.")
    reports = {v.name: report for v in variants if (report := newest(registry.reports(v.digest)))}
    return render(
        Subject(name=version.name, measurements=shown, reports=reports, choice=choose(registry, version.name))
    )


def write_page(path: Path, page: str) -> None:
    """Write a report where people look for it.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}."
        raise StorageError(msg) from error
