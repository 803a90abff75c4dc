"""Eight bits under accuracy control, the same for every format that can leave operators in float."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.core.errors import ExportError
from wherry.core.variant import Target
from wherry.export.accuracy import AccuracyGoal, Found, control
from wherry.export.calibration_batches import prepared_batches
from wherry.export.damage import Damage, rank_layers
from wherry.export.evaluation import Evaluation
from wherry.export.interface import Source, spec_batch
from wherry.export.lint import EXAMPLES, lint
from wherry.export.onnxfile import Share

_LOG = logging.getLogger(__name__)
_RANKED_ON = 16  # examples that tell a layer that breaks from one that does not


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one format is built in eight bits."""

    engine: str
    """Member of the engine family that runs the files."""
    suffix: str
    build: Callable[[Path, Sequence[str]], None]
    """Writes the main file with these operators of the ONNX file in float."""
    share: Callable[[Path], Share]
    """How much of a main file computes in eight bits."""
    excluded: tuple[str, ...] = ()
    """Operators that are in float in any case."""


def build_eight(source: Source, target: Target, recipe: Recipe, out: Path, scratch: Path) -> dict[str, Any]:
    """Build the variant into `out` and return what the receipt says about it.

    Raises:
        ExportError: the accuracy goal was not met, and there are labels that say so.
    """
    main = out / f"model{recipe.suffix}"
    examples = list(prepared_batches(source.calibration, source.spec, most=EXAMPLES))
    warnings = {"warnings": [str(finding) for finding in lint(Path(source.parent or ""), examples)]}
    for warning in warnings["warnings"]:
        _LOG.warning("%s", warning)
    if source.accuracy is None:
        recipe.build(main, recipe.excluded)
        share = round(recipe.share(main).part, 4)
        return {"eight_bit_share": share, "left_in_float": list(recipe.excluded), **warnings}
    controlled = _Controlled(source, source.accuracy, recipe, scratch)
    found = controlled.search()
    report = controlled.report(found)
    if not found.met and controlled.evaluation.labelled:
        raise _not_met(target, found, controlled.evaluation, source.accuracy)
    for file in sorted(found.file.parent.iterdir()):
        shutil.move(file, out / file.name)
    return {
        "eight_bit_share": report["price"]["eight_bit_share"],
        "left_in_float": [*recipe.excluded, *controlled.operators(found.left_in_float)],
        "accuracy_control": report,
        **warnings,
    }


class _Controlled:
    def __init__(self, source: Source, goal: AccuracyGoal, recipe: Recipe, scratch: Path) -> None:
        self.goal = goal
        self.recipe = recipe
        self.evaluation = Evaluation(goal, source.spec, engine=recipe.engine, batch=spec_batch(source.spec))
        self._source = source
        self._scratch = scratch
        self._damage: dict[str, Damage] = {}
        self._built = 0

    def search(self) -> Found[Path]:
        return control(
            self._build, self.evaluation.metric, self._rank, reference=self.evaluation.reference, goal=self.goal
        )

    def operators(self, layers: Sequence[str]) -> list[str]:
        return sorted(name for layer in layers for name in self._damage[layer].operators)

    def report(self, found: Found[Path]) -> dict[str, Any]:
        points = 100 * (self.evaluation.reference - found.metric)
        first, last = self._scratch / "trial1" / found.file.name, found.file
        return {
            "metric": self.evaluation.name,
            "labelled": self.evaluation.labelled,
            "samples": len(self.evaluation),
            "reference": self.evaluation.reference,
            "before": found.metric_before,
            "after": found.metric,
            "drop_points": round(points, 4),
            "max_drop_points": round(100 * self.goal.max_drop, 4),
            "met": found.met,
            "out_of_time": found.out_of_time,
            "seconds": found.seconds,
            "layers_left_in_float": [
                {"layer": name, "noise": round(self._damage[name].noise, 6)} for name in found.left_in_float
            ],
            "layers": len(self._damage) or None,
            "trials": [{"left_in_float": t.left_in_float, "metric": t.metric} for t in found.trials],
            "price": {
                "bytes_all_int8": _size(first),
                "bytes": _size(last),
                "eight_bit_share_all_int8": round(self.recipe.share(first).part, 4),
                "eight_bit_share": round(self.recipe.share(last).part, 4),
            },
        }

    def _build(self, layers: Sequence[str]) -> Path:
        self._built += 1
        folder = self._scratch / f"trial{self._built}"
        folder.mkdir()
        main = folder / f"model{self.recipe.suffix}"
        self.recipe.build(main, sorted({*self.recipe.excluded, *self.operators(layers)}))
        return main

    def _rank(self) -> list[str]:
        parent, calibration = Path(self._source.parent or ""), self._source.calibration
        batches = list(prepared_batches(calibration, self._source.spec, most=_RANKED_ON))
        ranked = rank_layers(parent, batches, self._scratch)
        self._damage = {damage.layer: damage for damage in ranked}
        return list(self._damage)


def _size(main: Path) -> int:
    return sum(file.stat().st_size for file in main.parent.iterdir())


def _not_met(target: Target, found: Found[Path], evaluation: Evaluation, goal: AccuracyGoal) -> ExportError:
    drop = 100 * (evaluation.reference - found.metric)
    msg = (
        f"{target.name} loses {drop:.2f} points of {evaluation.name} "
        f"({evaluation.reference:.4f} to {found.metric:.4f}) "
        f"with {len(found.left_in_float)} layers left in float, and {100 * goal.max_drop:g} are allowed."
    )
    more = "more time with --time-budget, " if found.out_of_time else ""
    return ExportError(msg, next_step=f"Give {more}other calibration examples, or a larger --max-drop; or use fp16.")
