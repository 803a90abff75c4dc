"""Training in the demo: two rounds of the digits recipe, each in a folder that an interrupted run carries on from."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wherry.checkpoint.opening import load_into, open_checkpoint
from wherry.cli.demo.world import MODEL, World
from wherry.core.errors import BadInputError, CheckpointError
from wherry.core.model import Lineage, ModelSpec
from wherry.proof.record import Examples
from wherry.train.evaluate import evaluate
from wherry.train.examples import Examples as Labelled
from wherry.train.lineage import lineage
from wherry.train.recipes import digits
from wherry.train.run import RESULT, EpochRecord, RoundData, TrainResult, train

if TYPE_CHECKING:
    from torch import nn

SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What one round of training left."""

    number: int
    checkpoint: Path
    network: "Callable[[], nn.Module]"
    spec: ModelSpec
    lineage: Lineage
    metrics: dict[str, float]
    held_out: Examples
    """697 scans that no round has seen."""
    calibration: Examples
    """The scans that it was trained on."""
    reused: bool


def train_both(world: World) -> list[Trained]:
    """Train v1 on 1000 scans, then v2 on those and 100 more, from v1's weights, in half the epochs."""
    data = digits.load()
    everything = Labelled(
        images=np.concatenate([data.first.images, data.later.images]),
        labels=np.concatenate([data.first.labels, data.later.labels]),
        class_names=data.first.class_names,
    )
    first, reused = _round(world, 1, RoundData(examples=data.first, held_out=data.held_out))
    notes = "first training, on everything there is"
    one = _trained(1, first, data, data.first, lineage(first, notes=notes), reused=reused)
    more = RoundData(examples=everything, held_out=data.held_out, previous=first.snapshot)
    second, reused = _round(world, 2, more, start_from=first.checkpoint)
    parent = f"{MODEL}@v1"
    story = lineage(
        second, base_model=parent, previous_version=parent, notes="100 more scans arrived: retrained on all of them"
    )
    return [one, _trained(2, second, data, everything, story, reused=reused)]


def _round(world: World, number: int, data: RoundData, start_from: Path | None = None) -> tuple[TrainResult, bool]:
    out = world.folder / "training" / f"v{number}"
    finished = (out / RESULT).is_file()
    if out.exists():
        try:
            found = train(digits.RECIPE, data, out=out, strategy="resume", on_epoch=_tell(world))
        except (BadInputError, CheckpointError) as error:
            world.say(f"The run in {out} cannot be used again, so it is made anew: {error.message}")
            shutil.rmtree(out)
        else:
            world.note_reuse(f"training of v{number}{'' if finished else ', carried on where it was interrupted'}")
            return found, finished
    made = train(digits.RECIPE, data, out=out, start_from=start_from, seed=SEED + number, on_epoch=_tell(world))
    return made, False


def _tell(world: World) -> Callable[[EpochRecord], None]:
    def tell(epoch: EpochRecord) -> None:
        accuracy = "" if epoch.accuracy is None else f", {epoch.accuracy:.2%} right"
        world.progress(f"epoch {epoch.number} of {epoch.epochs}: loss {epoch.loss:.3f}{accuracy}")

    return tell


def _trained(
    number: int, result: TrainResult, data: digits.Digits, seen: Labelled, story: Lineage, *, reused: bool
) -> Trained:
    net = digits.DigitsNet()
    load_into(net, open_checkpoint(result.checkpoint))
    spec = digits.spec()
    return Trained(
        number=number,
        checkpoint=result.checkpoint,
        network=digits.DigitsNet,
        spec=spec,
        lineage=story,
        metrics=evaluate(lambda images: digits.predict(net, images), data.held_out, spec),
        held_out=Examples(raw=data.held_out.images, labels=data.held_out.labels),
        calibration=Examples(raw=seen.images, labels=seen.labels, source="scikit-learn digits, training images"),
        reused=reused,
    )
