"""First chapter: a checkpoint becomes a version, and an alias is moved to it."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.core.digest import FileRef
from wherry.core.errors import SpecMismatchError
from wherry.core.model import Event, Lineage, ModelSpec, Version, VersionDraft, VersionRef, check_name

if TYPE_CHECKING:
    from torch import nn

    from wherry.checkpoint.describe import Description
    from wherry.checkpoint.network import NetworkRequest
    from wherry.checkpoint.programs import MadeProgram
    from wherry.proof.record import Examples
    from wherry.registry import Registry

CAPTURED = "captured"
"""Fact of a lineage: which sub-module was captured, and what adapted it."""
NOTES = "capture_notes"
"""Fact of a lineage: sentences about what was taken otherwise than it stood in the checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a training run hands in to become a version."""

    model: str
    checkpoint: Path
    spec: "ModelSpec | Description"
    """What it takes and gives; or a description, from which the spec is made by running the network once."""
    golden: "Examples"
    """Real examples that will travel with the model."""
    lineage: Lineage
    metrics: dict[str, float] = field(default_factory=dict)
    evaluation: "Examples | None" = None
    """Held-out examples with labels; they stay at the training site."""
    network: "Callable[[], nn.Module] | str | None" = None
    """Builds the network without its weights: a function, or a name such as `timm:efficientnet_b0`. None takes the
    network that the checkpoint holds, or names."""
    submodule: str = ""
    """Dotted path of the part to capture, such as `encoder`; empty is the whole network."""
    adapt: "Callable[[nn.Module], nn.Module] | None" = None
    """Wraps the network after it was loaded, such as splitting a detector's output."""
    trust_pickle: bool = False
    """Whether a whole pickled network may be opened, after the scan has let it through by its longer list."""


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
    from wherry.checkpoint.opening import open_checkpoint
    from wherry.checkpoint.programs import make_program
    from wherry.proof.tasks import task_metric

    check_name(submission.model, "a model's name")
    metric = task_metric(submission.spec.task)
    if isinstance(submission.spec, ModelSpec):
        _check_task(metric.check(submission.spec))
        known = _registered(registry, submission, submission.spec)
        if known is not None:
            return known, False
    checkpoint = open_checkpoint(submission.checkpoint, trust_pickle=submission.trust_pickle)
    with tempfile.TemporaryDirectory() as scratch:
        program = make_program(checkpoint, _network_request(submission), submission.spec, Path(scratch))
        _check_task(metric.check(program.spec))
        known = _registered(registry, submission, program.spec)
        if known is not None:
            return known, False
        draft = _draft(registry, submission, program)
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


def _network_request(submission: Submission) -> "NetworkRequest":
    from wherry.checkpoint.network import NetworkRequest
    from wherry.checkpoint.networks import NetworkName

    network = submission.network
    named = NetworkName.parse(network) if isinstance(network, str) else network
    return NetworkRequest(network=named, submodule=submission.submodule, adapt=submission.adapt)


def _registered(registry: "Registry", submission: Submission, spec: ModelSpec) -> Version | None:
    """Return the version of the same checkpoint, spec, data and part, or None; opens nothing."""
    if submission.model not in registry.models():
        return None
    sha256 = _sha256(submission.checkpoint)
    for version in registry.versions(submission.model):
        same_weights = [file.sha256 for file in version.checkpoint] == [sha256]
        same_part = version.lineage.facts.get(CAPTURED, {}) == _captured(submission)
        same_data = version.lineage.dataset == submission.lineage.dataset
        if same_weights and same_part and same_data and version.spec == spec:
            return version
    return None


def _captured(submission: Submission) -> dict[str, Any]:
    """Return what of the checkpoint's network was captured, where it is not the whole of it as it was."""
    adapt = submission.adapt
    name = None if adapt is None else f"{adapt.__module__}:{getattr(adapt, '__qualname__', type(adapt).__qualname__)}"
    asked = {"submodule": submission.submodule, "adapt": name}
    return {key: value for key, value in asked.items() if value}


def _draft(registry: "Registry", submission: Submission, program: "MadeProgram") -> VersionDraft:
    def recorded(examples: "Examples", name: str) -> FileRef:
        from wherry.proof.record import record

        golden = record(program.path, program.spec, examples, engine=program.engine)
        return registry.put_bytes(name, golden.to_bytes())

    evaluation = submission.evaluation
    facts = {CAPTURED: _captured(submission), NOTES: list(program.notes)}
    told = {key: value for key, value in facts.items() if value}
    return VersionDraft(
        model=submission.model,
        spec=program.spec,
        program=registry.put_file(program.path, program.path.name),
        checkpoint=(registry.put_file(submission.checkpoint, "checkpoint" + submission.checkpoint.suffix),),
        golden=recorded(submission.golden, "golden.npz"),
        lineage=replace(submission.lineage, facts={**submission.lineage.facts, **told}),
        metrics=submission.metrics,
        architecture=program.architecture,
        tools=program.tools,
        evaluation=None if evaluation is None else recorded(evaluation, "evaluation.npz"),
    )


def _sha256(path: Path) -> str | None:
    """Return the digest of a file; None when it cannot be read, which opening it will tell."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
