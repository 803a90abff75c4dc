"""First chapter: a checkpoint becomes a version, and an alias is moved to it."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.core.digest import FileRef
from wherry.core.errors import SpecMismatchError
from wherry.core.model import Event, Lineage, ModelSpec, Version, VersionDraft, VersionRef, check_name

if TYPE_CHECKING:
    from torch import nn

    from wherry.proof.record import Examples
    from wherry.registry import Registry


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
