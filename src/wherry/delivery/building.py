"""Second chapter: a version becomes variants, each built in a child process of its own."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.core.codec import to_builtins
from wherry.core.errors import BadInputError
from wherry.core.model import Version
from wherry.core.variant import Target
from wherry.delivery.calibrating import CalibrationSource, calibrate
from wherry.jobs.pool import Jobs, opened

if TYPE_CHECKING:
    from wherry.export.request import ExportOutcome
    from wherry.proof.record import Examples
    from wherry.registry import Registry

_PRUNING_TIMEOUT_S = 900.0


def export(
    registry: "Registry",
    ref: str,
    targets: Sequence[Target],
    *,
    calibration: "Examples | CalibrationSource | None" = None,
    calibration_source: str = "",
    pruning: str | None = None,
    jobs: Jobs | None = None,
    on_event: Callable[[str, str], None] | None = None,
) -> "list[ExportOutcome]":
    """Build each target in a child process of its own, side by side; one that fails loses nothing of the others.

    Args:
        registry: where the version is and the variants go.
        ref: `NAME@v2` or `NAME@alias`.
        targets: what to build; what another one starts from is built as well.
        calibration: real examples for int8 targets; none of them may be among those that the proof uses.
        calibration_source: where they come from, for the reader of a receipt.
        pruning: `unstructured:0.5` or `structured:0.2` takes weights out first, as `wherry.export.pruning` says.
        jobs: where the work is done and within which limits; by default in two child processes here.
        on_event: told a target's name and its new state.

    Raises:
        NotFoundError: an unknown version or format.
        BadInputError: the calibration examples do not fit, or overlap with the evaluation set.
    """
    from wherry.export.request import DEFAULT_TIMEOUT_S, ExportRequest
    from wherry.export.run import export_all

    jobs, version = jobs or Jobs(), registry.version(ref)
    calibrated = None if calibration is None else calibrate(registry, version, calibration, calibration_source)
    program, digest = registry.blob_path(version.program.sha256), version.program.sha256
    if pruning is not None:
        _check_prunable(version)
        program, digest = _pruned(registry, version, pruning)
        targets = [replace(target, options={**target.options, "prune": pruning}) for target in targets]
    requests = [
        ExportRequest(
            model=version.model,
            version=version.number,
            version_digest=version.digest,
            spec=version.spec,
            target=target,
            program=str(program),
            program_sha256=digest,
            program_format=version.program_format,
            calibration=None if calibrated is None else str(calibrated[0]),
            calibration_manifest=None if calibrated is None else calibrated[1],
            timeout_s=jobs.timeout_s or DEFAULT_TIMEOUT_S,
            memory_bytes=jobs.memory_bytes,
            architecture=version.architecture,
            facts={**to_builtins(version.lineage), "metrics": version.metrics},
        )
        for target in targets
    ]
    cache = registry.root / "cache" / "exports"
    with opened(jobs) as pool:
        outcomes = export_all(requests, cache=cache, run=pool.run, parallel=pool.parallel, on_event=on_event)
    for outcome in outcomes:
        if outcome.variant is not None and outcome.folder is not None:
            for file in outcome.variant.files:
                registry.put_file(outcome.folder / file.path, file.path)
            registry.put_variant(outcome.variant)
    return outcomes


def _check_prunable(version: Version) -> None:
    if version.program_format != "pt2":
        msg = f"{version.name} is an {version.program_format} file, and only a captured PyTorch network can be pruned."
        raise BadInputError(msg, next_step="Leave --prune out, or register the PyTorch checkpoint.")


def _pruned(registry: "Registry", version: Version, pruning: str) -> tuple[Path, str]:
    """Return the version's pruned program and its sha256; it is made in a child process."""
    from wherry.export.pruning import PRUNE_PROGRAM, Pruned, PruneJob, parse_pruning
    from wherry.jobs.child import run_in_child

    parse_pruning(pruning)
    folder = registry.root / "cache" / "pruned"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        out = Path(scratch) / "program.pt2"
        program = str(registry.blob_path(version.program.sha256))
        job = PruneJob(program=program, pruning=pruning, out=str(out))
        made = run_in_child(PRUNE_PROGRAM, job, Pruned, timeout_s=_PRUNING_TIMEOUT_S)
        kept = folder / f"{made.sha256}.pt2"
        out.replace(kept)
    return kept, made.sha256
