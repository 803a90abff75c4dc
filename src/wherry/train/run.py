"""A training run: a folder that holds its plan, its last whole epoch and, at the end, the checkpoint.

    run.json         what was asked for; written before anything else
    last.pt          everything needed to go on from the last whole epoch; replaced after each
    checkpoint.pt    the result: weights, architecture and facts; opens with weights_only
    result.json      written last; a run that has it is finished

Interrupted anywhere, `strategy="resume"` carries on from `last.pt` and ends with the weights of an uninterrupted run.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from wherry.core.codec import from_json, to_json
from wherry.core.errors import BadInputError, CheckpointError
from wherry.durable import atomic_write
from wherry.train.examples import Examples
from wherry.train.plan import RUN_SCHEMA, RunPlan, Strategy, config_snapshot, make_plan, start_weights
from wherry.train.recipe import Epoch, Job, Recipe
from wherry.train.snapshot import DatasetSnapshot, SnapshotDelta, delta, snapshot, unseen
from wherry.train.state import read_state, write_state

PLAN, LAST, CHECKPOINT, RESULT = "run.json", "last.pt", "checkpoint.pt", "result.json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundData:
    """What one round of training goes by."""

    examples: Examples
    """The whole data set of this round, old and new."""
    held_out: Examples | None = None
    """For the accuracy after each epoch; never trained on."""
    previous: DatasetSnapshot | None = None
    """What the round before held, for the counts and for `fine_tune`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One epoch of a run, as it is told while it goes on and kept afterwards."""

    number: int
    """From 1."""
    epochs: int
    """Of the whole run."""
    loss: float
    """Mean training loss in nats."""
    accuracy: float | None
    """Share of the held-out examples that were right, 0 to 1; None without any."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """A finished run."""

    checkpoint: Path
    """Weights, architecture and facts."""
    sha256: str
    """Of the checkpoint."""
    recipe: str
    strategy: Literal["full_retrain", "fine_tune"]
    """How the run was begun."""
    resumed: int
    """How often it was interrupted and carried on."""
    epochs: int
    loss: float
    """Mean training loss of the last epoch, in nats."""
    accuracy: float | None
    """On the held-out examples, with the weights in the checkpoint."""
    best_accuracy: float | None
    """Best of all epochs; the checkpoint holds the last one."""
    seconds: float
    """Spent training, interruptions left out."""
    history: tuple[EpochRecord, ...]
    snapshot: DatasetSnapshot
    """The whole data set of this round."""
    delta: SnapshotDelta
    """What came and went since the round before."""
    trained_on: int
    """Examples that the weights have seen in this run."""
    base: str | None
    """sha256 of the checkpoint that it started from."""
    config_snapshot: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """`result.json`."""

    sha256: str
    history: tuple[EpochRecord, ...]
    resumed: int
    schema: int = RUN_SCHEMA


def train(
    recipe: Recipe,
    data: RoundData,
    *,
    out: Path,
    strategy: Strategy = "full_retrain",
    start_from: Path | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> TrainResult:
    """Train and leave a checkpoint in `out`.

    Args:
        recipe: how to train.
        data: the whole data set of this round, what is held out of it, and what the round before held.
        out: folder of the run; new, or that of the unfinished run when resuming.
        strategy: `full_retrain`: all data, from `start_from` if given and then half of the recipe's epochs;
            `fine_tune`: only what the round before did not hold, from `start_from`, three tenths of the epochs, and a
            warning; `resume`: carries on an unfinished run with the choices it was begun with.
        start_from: checkpoint whose weights to start from.
        epochs: another number of epochs.
        seed: of weights, order and augmentation; equal seeds give equal weights on one machine.
        on_epoch: called after each epoch is safe on the disk.

    Raises:
        BadInputError: the choices contradict each other, the folder, or the run that is resumed.
        NotFoundError: `start_from` does not exist, or there is no run to resume.
        CheckpointError: `start_from` does not fit the network, or the run's files are damaged.
        StorageError: the folder cannot be written.
    """
    whole, previous = snapshot(data.examples), data.previous
    if strategy == "resume":
        if start_from is not None or epochs is not None or seed is not None:
            msg = "A resumed run keeps its epochs, its seed and where it started."
            raise BadInputError(msg, next_step="Leave those choices out, or begin a new run in another folder.")
        plan = _read_plan(out, recipe, whole, previous)
    else:
        plan = _begin(out, make_plan(recipe, whole, strategy, start_from, previous, epochs, seed), start_from)
    chosen = data.examples
    if plan.strategy == "fine_tune":
        chosen = chosen.where(unseen(chosen, previous))
    for warning in plan.warnings:
        _LOG.warning(warning)
    if not (out / RESULT).is_file():
        job = Job(
            examples=chosen,
            held_out=data.held_out,
            epochs=plan.epochs,
            seed=plan.seed,
            settings=plan.settings,
            warm=plan.base is not None,
        )
        _carry_on(out, recipe, plan, job, resuming=strategy == "resume", on_epoch=on_epoch)
    return _result(out, recipe, plan, whole, previous, len(chosen))


def _begin(out: Path, plan: RunPlan, start_from: Path | None) -> RunPlan:
    """Make the run's folder self-contained: the plan, and the weights to start from as the state of epoch 0."""
    if (out / PLAN).exists():
        what = "a finished run" if (out / RESULT).exists() else "an unfinished run"
        msg = f"{out} holds {what} already."
        raise BadInputError(msg, next_step="Choose another folder, or carry on with the strategy 'resume'.")
    weights, base = start_weights(start_from)
    plan = replace(plan, base=base)
    write_state(out / LAST, {"done": 0, "weights": weights, "state": None, "history": [], "resumed": 0})
    atomic_write(out / PLAN, to_json(plan))
    return plan


def _read_plan(out: Path, recipe: Recipe, whole: DatasetSnapshot, previous: DatasetSnapshot | None) -> RunPlan:
    path = out / PLAN
    if not path.is_file():
        msg = f"{out} holds no run to resume."
        raise BadInputError(msg, next_step="Begin one with the strategy 'full_retrain'.")
    plan = from_json(path.read_bytes(), RunPlan, what=f"The plan {path}", schema=RUN_SCHEMA)
    before = previous.digest if previous is not None else None
    for what, planned, given in (
        ("recipe", plan.recipe, recipe.name),
        ("data set", plan.dataset, whole.digest),
        ("previous data set", plan.previous, before),
    ):
        if planned != given:
            msg = f"The run in {out} was begun with another {what}."
            raise BadInputError(msg, next_step=f"Give the {what} that it was begun with, or begin a new run elsewhere.")
    return plan


def _carry_on(
    out: Path,
    recipe: Recipe,
    plan: RunPlan,
    job: Job,
    *,
    resuming: bool,
    on_epoch: Callable[[EpochRecord], None] | None,
) -> None:
    last, _ = read_state(out / LAST)
    try:
        history = [EpochRecord(**entry) for entry in last["history"]]
        job = replace(job, weights=last["weights"], state=last["state"], done=last["done"])
        resumed = last["resumed"] + resuming
    except (KeyError, TypeError) as error:
        msg = f"{out / LAST} is not the state of a run."
        raise CheckpointError(msg, next_step="Begin the run again in another folder.") from error
    weights: Mapping[str, Any] = last["weights"] or {}
    for epoch, seconds in _timed(recipe.run(job)):
        record = EpochRecord(
            number=len(history) + 1, epochs=plan.epochs, loss=epoch.loss, accuracy=epoch.accuracy, seconds=seconds
        )
        history.append(record)
        weights = epoch.weights
        write_state(out / LAST, _last(epoch, history, resumed))
        if on_epoch is not None:
            on_epoch(record)
    sha256 = write_state(out / CHECKPOINT, _checkpoint(recipe, plan, weights, history))
    atomic_write(out / RESULT, to_json(_Record(sha256=sha256, history=tuple(history), resumed=resumed)))
    (out / LAST).unlink(missing_ok=True)


def _timed(epochs: Iterator[Epoch]) -> Iterator[tuple[Epoch, float]]:
    """Yield each epoch with the seconds that it took, what is done between two of them left out."""
    while True:
        began = time.perf_counter()
        epoch = next(epochs, None)
        if epoch is None:
            return
        yield epoch, time.perf_counter() - began


def _last(epoch: Epoch, history: list[EpochRecord], resumed: int) -> dict[str, Any]:
    return {
        "done": len(history),
        "weights": dict(epoch.weights),
        "state": dict(epoch.state),
        "history": [
            {
                "number": it.number,
                "epochs": it.epochs,
                "loss": it.loss,
                "accuracy": it.accuracy,
                "seconds": it.seconds,
            }
            for it in history
        ],
        "resumed": resumed,
    }


def _checkpoint(
    recipe: Recipe, plan: RunPlan, weights: Mapping[str, Any], history: list[EpochRecord]
) -> dict[str, Any]:
    """Return the checkpoint; it holds no times, so equal runs give equal files."""
    return {
        "state_dict": dict(weights),
        "architecture": {"recipe": recipe.name, **recipe.architecture},
        "metadata": {
            "strategy": plan.strategy,
            "epochs": len(history),
            "loss": history[-1].loss,
            "accuracy": history[-1].accuracy,
            "seed": plan.seed,
            "dataset": plan.dataset,
            "base": plan.base,
            "settings": plan.settings,
        },
    }


def _result(
    out: Path, recipe: Recipe, plan: RunPlan, whole: DatasetSnapshot, previous: DatasetSnapshot | None, trained_on: int
) -> TrainResult:
    path = out / RESULT
    record = from_json(path.read_bytes(), _Record, what=f"The result {path}", schema=RUN_SCHEMA)
    accuracies = [epoch.accuracy for epoch in record.history if epoch.accuracy is not None]
    return TrainResult(
        checkpoint=out / CHECKPOINT,
        sha256=record.sha256,
        recipe=recipe.name,
        strategy=plan.strategy,
        resumed=record.resumed,
        epochs=len(record.history),
        loss=record.history[-1].loss,
        accuracy=record.history[-1].accuracy,
        best_accuracy=max(accuracies) if accuracies else None,
        seconds=sum(epoch.seconds for epoch in record.history),
        history=record.history,
        snapshot=whole,
        delta=delta(previous, whole),
        trained_on=trained_on,
        base=plan.base,
        config_snapshot=config_snapshot(recipe, plan, trained_on),
        warnings=plan.warnings,
    )
