"""What a run was asked to do: decided once, written down, and never decided again when the run is resumed."""

import hashlib
import inspect
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from wherry.core.codec import to_builtins
from wherry.core.errors import BadInputError, CheckpointError
from wherry.train.recipe import Recipe
from wherry.train.snapshot import DatasetSnapshot, delta
from wherry.train.state import read_state

Strategy = Literal["full_retrain", "fine_tune", "resume"]
RUN_SCHEMA = 1
FROM_WEIGHTS = 0.5
"""Share of a recipe's epochs that a full retraining from earlier weights takes (contract row F1: 50 of 100)."""
FINE_TUNE = 0.3
"""Share that fine-tuning takes (contract row F1: 30 of 100)."""
FINE_TUNE_WARNING = (
    "fine_tune trains on the {new} new examples only and may forget the other {old}: full_retrain is the safe choice."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """`run.json`."""

    recipe: str
    strategy: Literal["full_retrain", "fine_tune"]
    epochs: int
    seed: int
    settings: dict[str, Any]
    dataset: str
    """Digest of the snapshot."""
    previous: str | None
    """Digest of the snapshot of the round before."""
    base: str | None = None
    """sha256 of the checkpoint that it starts from."""
    tools: dict[str, str]
    code: str
    """sha256 of the recipe's source file."""
    warnings: tuple[str, ...] = ()
    schema: int = RUN_SCHEMA


def make_plan(
    recipe: Recipe,
    whole: DatasetSnapshot,
    strategy: Strategy,
    start_from: Path | None,
    previous: DatasetSnapshot | None,
    epochs: int | None,
    seed: int | None,
) -> RunPlan:
    """Decide what a new run does.

    Raises:
        BadInputError: the choices contradict each other.
    """
    if strategy not in ("full_retrain", "fine_tune"):
        msg = f"There is no training strategy {strategy!r}."
        raise BadInputError(msg, next_step="Use full_retrain, fine_tune or resume.")
    if whole.total == 0:
        msg = "There are no examples to train on."
        raise BadInputError(msg)
    if epochs is not None and epochs < 1:
        msg = f"A run of {epochs} epochs trains nothing."
        raise BadInputError(msg, next_step="Give a number of epochs from 1.")
    share = 1.0
    warnings: tuple[str, ...] = ()
    if strategy == "fine_tune":
        share, warnings = FINE_TUNE, (_fine_tune_warning(whole, start_from, previous),)
    elif start_from is not None:
        share = FROM_WEIGHTS
    return RunPlan(
        recipe=recipe.name,
        strategy=strategy,
        epochs=epochs if epochs is not None else max(1, math.ceil(recipe.epochs * share)),
        seed=seed if seed is not None else 0,
        settings=to_builtins(recipe.settings),
        dataset=whole.digest,
        previous=previous.digest if previous is not None else None,
        tools=_tools(),
        code=_code(recipe),
        warnings=warnings,
    )


def start_weights(path: Path | None) -> tuple[Mapping[str, Any] | None, str | None]:
    """Return the weights of a checkpoint and the file's sha256.

    Raises:
        NotFoundError: there is no such file.
        CheckpointError: it holds no weights.
    """
    if path is None:
        return None, None
    import torch

    state, sha256 = read_state(path)
    weights = state.get("state_dict", state)
    if not isinstance(weights, dict) or not any(isinstance(item, torch.Tensor) for item in weights.values()):
        msg = f"{path} holds no weights to start from."
        raise CheckpointError(msg, next_step="Give a checkpoint that this training wrote, or a plain state_dict.")
    return weights, sha256


def config_snapshot(recipe: Recipe, plan: RunPlan, trained_on: int) -> dict[str, Any]:
    """Return every choice that made the weights what they are, as plain facts."""
    return {
        "recipe": recipe.name,
        "architecture": dict(recipe.architecture),
        "settings": dict(plan.settings),
        "strategy": plan.strategy,
        "epochs": plan.epochs,
        "seed": plan.seed,
        "dataset": plan.dataset,
        "previous_dataset": plan.previous,
        "base_sha256": plan.base,
        "trained_on": trained_on,
        "tools": dict(plan.tools),
        "code_sha256": plan.code,
    }


def _fine_tune_warning(whole: DatasetSnapshot, start_from: Path | None, previous: DatasetSnapshot | None) -> str:
    if start_from is None or previous is None:
        msg = "Fine-tuning needs weights to start from and the snapshot of the round before."
        raise BadInputError(msg, next_step="Give start_from and previous, or use full_retrain.")
    found = delta(previous, whole)
    new = found.new + found.relabelled
    if new == 0:
        msg = "There is nothing new to fine-tune on."
        raise BadInputError(msg, next_step="Add images first, or use full_retrain.")
    return FINE_TUNE_WARNING.format(new=new, old=whole.total - new)


def _tools() -> dict[str, str]:
    import torch

    return {
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "numpy": metadata.version("numpy"),
        "threads": str(torch.get_num_threads()),
    }


def _code(recipe: Recipe) -> str:
    """Return the sha256 of the file that holds the recipe's function; empty where there is none, as in a shell."""
    source = inspect.getsourcefile(recipe.run)
    path = Path(source) if source is not None else None
    return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None and path.is_file() else ""
