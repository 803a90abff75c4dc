"""Verbs that use a model at the training site: predict, compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherry.cli.options import DEFAULT_REGISTRY, AsJson, Quiet, RegistryPath

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherry.delivery.predicting import Prediction, Predictions

_SHOWN = 8


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("predict")(predict)
    app.command("compare")(compare)


def predict(
    source: Annotated[str, typer.Argument(help="NAME@v2, or a file below exports/.", metavar="NAME@V|FILE")],
    examples: Annotated[list[Path], typer.Argument(help="Pictures, .npy arrays, or folders of them.")],
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="The variant; by default the chosen one.")
    ] = None,
    spec: Annotated[Path | None, typer.Option(help="Model spec of a file from elsewhere.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder for a PNG of the masks of each picture.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of the runtime; 0 lets it decide.", min=0)] = 0,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say what a model sees in files; exit code 4 if one of them cannot be used."""
    from wherry import delivery
    from wherry.cli.output import emit, end_with
    from wherry.core.errors import BadInputError

    running = delivery.Running(threads=threads)
    with delivery.load(source, registry=registry, target=target, spec=spec, running=running) as predictor:
        found = delivery.predict(predictor, examples, masks=masks)
    emit(found, prediction_lines(found), as_json=as_json, quiet=quiet)
    failed = [one for one in found.predictions if one.error is not None]
    if failed:
        msg = f"{len(failed)} of {len(found.predictions)} examples could not be used. {failed[0].error}"
        end_with(BadInputError(msg, next_step="The others were answered; mend these files or leave them out."))


def compare(
    left: Annotated[str, typer.Argument(help="NAME@v1, or NAME@v1:onnx-fp32 for one variant.", metavar="A")],
    right: Annotated[str, typer.Argument(help="The same; its examples are used.", metavar="B")],
    seconds: Annotated[float, typer.Option(help="Time for each of them once it is warm.", min=0.05)] = 1.0,
    threads: Annotated[int, typer.Option(help="Threads of the runtimes; 0 lets them decide.", min=0)] = 0,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Pair two versions or variants: answers, confidence, quality, speed, size, and what they are made of."""
    from wherry import delivery
    from wherry.cli.compared import comparison_lines
    from wherry.cli.output import emit
    from wherry.registry import Registry

    with Registry.open(registry, create=False) as opened:
        found = delivery.compare(opened, left, right, seconds=seconds, threads=threads)
    emit(found, comparison_lines(found), as_json=as_json, quiet=quiet)


def prediction_lines(found: "Predictions") -> "list[RenderableType]":
    """Return the answers, for people."""
    from wherry.cli.output import table

    rows = [(Path(one.source).name, *_cells(one)) for one in found.predictions]
    head = f"{found.model} on {found.engine.engine} {found.engine.version} ({found.engine.device})"
    return [head, table(("file", "answer", "more"), rows)]


def _cells(one: "Prediction") -> tuple[str, str]:
    answer = one.answer
    if one.error is not None:
        return "-", one.error
    if "class_name" in answer:
        others = (f"{guess['name']} {guess['probability']:.1%}" for guess in answer["top"][1:])
        return f"{answer['class_name']} {answer['confidence']:.1%}", ", ".join(others)
    if "found" in answer:
        return f"{len(answer['found'])} found", _some([_box(box) for box in answer["found"]])
    if "shares" in answer:
        return answer.get("mask", ""), _some([f"{name} {share:.1%}" for name, share in answer["shares"].items()])
    if "move" in answer:
        return f"move {answer['move']} {answer['probability']:.1%}", f"value {answer['value']:+.3f}"
    if "vector" in answer:
        numbers = _some([f"{value:.4g}" for value in answer["vector"]])
        return f"{len(answer['vector'])} numbers", numbers
    if "batch" in answer:
        return f"{len(answer['batch'])} answers", "see --json"
    return _some([f"{name}: {_head(values)}" for name, values in answer["outputs"].items()]), ""


def _box(box: dict[str, Any]) -> str:
    corners = " ".join(f"{value:.0f}" for value in box["box"])
    return f"{box['name']} {box['score']:.1%} [{corners}]"


def _head(values: Any) -> str:
    return str(values if not isinstance(values, list) else values[:_SHOWN])


def _some(words: list[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
