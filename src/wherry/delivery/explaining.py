"""Third chapter, looked at closely: which layer of a variant lost the signal."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.delivery.proving import converted_of, variants_of

if TYPE_CHECKING:
    from wherry.proof.explain import Explanation
    from wherry.registry import Registry

_TIMEOUT_S = 900.0


def explain(registry: "Registry", ref: str, targets: Sequence[str] | None = None) -> "list[Explanation]":
    """Measure layer by layer what each of these variants loses against the float graph it was made from.

    Raises:
        NotFoundError: an unknown version or variant.
        UsageError: a variant cannot be looked into.
    """
    from wherry.jobs.child import run_in_child
    from wherry.proof.explain import ExplainJob, Explanation, check_explainable

    version = registry.version(ref)
    pairs = [(variant, converted_of(registry, version, variant)) for variant in variants_of(registry, version, targets)]
    for variant, reference in pairs:
        check_explainable(variant, reference)
    found = []
    for variant, reference in pairs:
        if reference is None:
            continue
        with tempfile.TemporaryDirectory(dir=registry.root) as scratch:
            job = ExplainJob(
                variant=variant,
                main=str(registry.materialize(variant.files, Path(scratch) / "variant")),
                reference=reference,
                reference_main=str(registry.materialize(reference.files, Path(scratch) / "reference")),
                spec=version.spec,
                golden=str(registry.blob_path(version.golden.sha256)),
                golden_sha256=version.golden.sha256,
            )
            found.append(run_in_child("wherry.proof.explain:explain_layers", job, Explanation, timeout_s=_TIMEOUT_S))
    return found
