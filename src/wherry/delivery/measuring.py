"""Fourth chapter: what is proven is measured side by side, and one variant is recommended."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.core.errors import NotFoundError, ProofRefusedError
from wherry.core.report import Choice, Measurement
from wherry.delivery.proving import has_passed, newest, variants_of

if TYPE_CHECKING:
    from wherry.proof.choose import Constraints
    from wherry.registry import Registry

_BENCH_TIMEOUT_S = 900.0


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
    variants = [v for v in variants_of(registry, version, targets) if has_passed(registry, v)]
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
        timeout = _BENCH_TIMEOUT_S + seconds * len(variants)
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
