"""Second chapter: a version becomes variants, each built in a child process of its own."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.core.codec import to_builtins
from wherry.core.model import Version
from wherry.core.variant import CalibrationManifest, Target

if TYPE_CHECKING:
    from wherry.export.request import ExportOutcome
    from wherry.proof.record import Examples
    from wherry.registry import Registry

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
            architecture=version.architecture,
            facts={**to_builtins(version.lineage), "metrics": version.metrics},
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
