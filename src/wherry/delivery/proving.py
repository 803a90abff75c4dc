"""Third chapter: each variant is proven; only what passed goes on."""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wherry.core.errors import ChildError, NotFoundError, ProofRefusedError
from wherry.core.model import Version
from wherry.core.report import Report
from wherry.core.variant import Variant

if TYPE_CHECKING:
    from wherry.registry import Registry

T = TypeVar("T")

_PROOF_TIMEOUT_S = 900.0
_PARALLEL = 2


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
    variants = variants_of(registry, version, targets)

    def one(variant: Variant) -> Report:
        report = _prove_one(registry, version, variant)
        registry.put_report(variant, report)
        if on_report:
            on_report(report)
        return report

    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(one, variants))


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


def _prove_one(registry: "Registry", version: Version, variant: Variant) -> Report:
    from wherry.jobs.child import run_in_child
    from wherry.proof.job import ProofJob
    from wherry.proof.prove import crashed
    from wherry.runtime.engines import engine_class

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
            device=engine_class(variant.engine).devices[0],
        )
        try:
            return run_in_child("wherry.proof.job:prove_release", job, Report, timeout_s=_PROOF_TIMEOUT_S)
        except ChildError as error:
            return crashed(variant, version.golden.sha256, error.message, where="build")


def has_passed(registry: "Registry", variant: Variant) -> bool:
    """Return whether the newest proof of the variant is a pass."""
    report = newest(registry.reports(variant.digest))
    return report is not None and report.passed


def newest(documents: Sequence[T]) -> T | None:
    """Return the first of documents that come newest first, or None."""
    return documents[0] if documents else None
