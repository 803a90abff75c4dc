"""The recipe family: a recipe is a plain function that trains for one epoch after another and yields after each.

What it yields holds everything that is needed to go on from there, so a run that was interrupted anywhere continues
from its last whole epoch and ends with the very weights it would have had. Files, folders, counting and timing are
not a recipe's business; `wherry.train.run` does them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wherry.core.model import ModelSpec
from wherry.train.examples import Examples

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a recipe is asked to do."""

    examples: Examples
    held_out: Examples | None
    """For the accuracy after each epoch; never trained on."""
    epochs: int
    seed: int
    settings: Mapping[str, Any]
    weights: Mapping[str, Any] | None = None
    """State dict to start from, or None for a fresh network."""
    warm: bool = False
    """Whether the run began from earlier weights; `weights` alone does not tell, as a resumed run has them too."""
    done: int = 0
    """Whole epochs that are behind; the next one is `done + 1`."""
    state: Mapping[str, Any] | None = None
    """What the last epoch yielded as `state`, when the run goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What a recipe yields after each epoch."""

    loss: float
    """Mean training loss in nats."""
    accuracy: float | None
    """Share of the held-out examples that were right, 0 to 1; None without any."""
    weights: Mapping[str, Any]
    """The network's state dict; written before the recipe goes on."""
    state: Mapping[str, Any]
    """Optimizer, random numbers: tensors, numbers, texts, lists and dicts only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A way to train one network."""

    name: str
    epochs: int
    """For a training from nothing."""
    run: Callable[[Job], Iterator[Epoch]]
    build: Callable[[], "nn.Module"]
    """The network without weights, for whoever opens the checkpoint."""
    spec: Callable[[], ModelSpec]
    """What the network takes and gives."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Learning rate, batch size and the like; recorded in every checkpoint."""
    architecture: dict[str, Any] = field(default_factory=dict)
    """What is needed to build the network, as facts; stored beside the weights."""
