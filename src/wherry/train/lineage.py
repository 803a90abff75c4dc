"""Where a version came from: contract row F2, taken from the run and counted from the data."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from wherry.core.model import Lineage
from wherry.train.run import TrainResult

SECONDS_PER_HOUR = 3600.0


def lineage(
    result: TrainResult,
    *,
    base_model: str | None = None,
    previous_version: str | None = None,
    notes: str = "",
    facts: Mapping[str, Any] | None = None,
    timestamp: datetime | None = None,
) -> Lineage:
    """Return the lineage of a finished run.

    Args:
        result: the run; image counts, epochs, loss, times and choices are taken from it and cannot be given.
        base_model: name of what it started from, such as `digits@v1`; without it, the recipe's architecture.
        previous_version: the version before, such as `digits@v1`.
        notes: for people.
        facts: free-form training facts that travel with the version; `resumed` and the last accuracy are added.
        timestamp: when it was trained; now, without it.
    """
    when = timestamp if timestamp is not None else datetime.now(UTC)
    return Lineage(
        timestamp=when.astimezone(UTC).isoformat(timespec="seconds"),
        training_images=result.trained_on,
        new_images=result.delta.new,
        removed_images=result.delta.removed,
        total_epochs=result.epochs,
        best_accuracy=result.best_accuracy,
        loss=result.loss,
        training_time_hours=result.seconds / SECONDS_PER_HOUR,
        base_model=base_model,
        previous_version=previous_version,
        training_strategy=result.strategy,
        config_snapshot=dict(result.config_snapshot),
        dataset=result.snapshot.digest,
        notes=notes,
        facts={**_facts(result), **(facts or {})},
    )


def _facts(result: TrainResult) -> dict[str, Any]:
    found: dict[str, Any] = {
        "dataset_images": result.snapshot.total,
        "relabelled_images": result.delta.relabelled,
        "duplicate_images": result.snapshot.duplicates,
        "resumed": result.resumed,
    }
    if result.accuracy is not None:
        found["accuracy"] = result.accuracy
    if result.warnings:
        found["warnings"] = list(result.warnings)
    return found
