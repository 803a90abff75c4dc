"""Second chapter: a version becomes variants, each built in a child process of its own."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.core.codec import to_builtins
from wherry.core.errors import BadInputError
from wherry.core.model import Version
from wherry.core.variant import Target
from wherry.delivery.calibrating import CalibrationSource, calibrate
from wherry.jobs.pool import Jobs, opened

if TYPE_CHECKING:
    from wherry.export.accuracy import AccuracyGoal
    from wherry.export.request import ExportOutcome
    from wherry.proof.record import Examples
    from wherry.registry import Registry

_PRUNING_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyLimits:
    """What an int8 variant may lose, and how long the search for the layers that it has to leave in float may take."""

    max_drop: float | None = None
    """Points (hundredths) of the task's metric; None is 1 where there are labels, and no limit but the proof's where
    there are none."""
    time_budget_s: float = 600.0


def export(
    registry: "Registry",
    ref: str,
    targets: Sequence[Target],
    *,
    calibration: "Examples | CalibrationSource | None" = None,
    pruning: str | None = None,
    limits: AccuracyLimits | None = None,
    jobs: Jobs | None = None,
    on_event: Callable[[str, str], None] | None = None,
) -> "list[ExportOutcome]":
    """Build each target in a child process of its own, side by side; one that fails loses nothing of the others.

    Args:
        registry: where the version is and the variants go.
        ref: `NAME@v2` or `NAME@alias`.
        targets: what to build; what another one starts from is built as well.
        calibration: real examples for int8 targets; none of them may be among those that the proof uses.
        pruning: `unstructured:0.5` or `structured:0.2` takes weights out first, as `wherry.export.pruning` says.
        limits: what int8 variants may lose before layers return to float.
        jobs: where the work is done and within which limits; by default in two child processes here.
        on_event: told a target's name and its new state.

    Raises:
        NotFoundError: an unknown version or format.
        BadInputError: the calibration examples do not fit, or overlap with the evaluation set.
    """
    from wherry.export.request import DEFAULT_TIMEOUT_S, ExportRequest
    from wherry.export.run import export_all

    jobs, version = jobs or Jobs(), registry.version(ref)
    calibrated = None if calibration is None else calibrate(registry, version, calibration)
    program, digest = registry.blob_path(version.program.sha256), version.program.sha256
    if pruning is not None:
        _check_prunable(version)
        program, digest = _pruned(registry, version, pruning)
        targets = [replace(target, options={**target.options, "prune": pruning}) for target in targets]
    goal = _goal(version, registry, limits or AccuracyLimits())
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
            accuracy=goal,
            timeout_s=jobs.timeout_s or DEFAULT_TIMEOUT_S + (goal.time_budget_s if goal is not None else 0.0),
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


def _goal(version: Version, registry: "Registry", limits: AccuracyLimits) -> "AccuracyGoal | None":
    """Return how much an int8 variant may lose and where that is measured, or None where nothing was asked or known."""
    from wherry.export.accuracy import AccuracyGoal
    from wherry.proof.golden import load_golden

    file = version.evaluation or version.golden
    path = registry.blob_path(file.sha256)
    if limits.max_drop is None and load_golden(path, file.sha256).labels is None:
        return None
    points, time_budget_s = 1.0 if limits.max_drop is None else limits.max_drop, limits.time_budget_s
    if not 0 <= points <= 100 or time_budget_s <= 0:
        msg = f"A drop of {points:g} points in {time_budget_s:g} seconds is no accuracy goal."
        raise BadInputError(msg, next_step="Give 0 to 100 points, and more than no time.")
    return AccuracyGoal(evaluation=str(path), sha256=file.sha256, max_drop=points / 100, time_budget_s=time_budget_s)


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
