"""The verb `register`: a checkpoint becomes a version."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.options import (
    DEFAULT_REGISTRY,
    AsJson,
    Quiet,
    RegistryPath,
    TreeProduct,
    Who,
    Why,
    actor,
    refresh_tree,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from wherry.checkpoint.describe import Description
    from wherry.core.model import ModelSpec

_SPEC = "The model's spec"


def register(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    checkpoint: Annotated[
        Path, typer.Argument(help="What training left: .pt, .pth, .ckpt, .safetensors, .pt2 or TorchScript.")
    ],
    golden: Annotated[Path, typer.Option(help="Real examples: .npz with `raw` and, if known, `labels`.")],
    why: Why,
    network: Annotated[
        str | None,
        typer.Option(help="What builds the network: package.module:function, or a name such as timm:efficientnet_b0."),
    ] = None,
    submodule: Annotated[str, typer.Option(help="Capture only this part, such as encoder.")] = "",
    adapt: Annotated[str | None, typer.Option(help="package.module:function that wraps the loaded network.")] = None,
    allow_pickled_module: Annotated[
        bool,
        typer.Option(
            "--allow-pickled-module", help="Open a whole network, pickled or TorchScript, that the scan let through."
        ),
    ] = False,
    spec: Annotated[
        Path | None, typer.Option(help="Model spec as JSON (docs/formats.md).", rich_help_panel=_SPEC)
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="In place of --spec: what the network does.", rich_help_panel=_SPEC)
    ] = None,
    input_size: Annotated[
        str | None, typer.Option(help="Image size: 224, or height x width as 240x320.", rich_help_panel=_SPEC)
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option(help="Other inputs: shape without the batch, such as 100,9.", rich_help_panel=_SPEC)
    ] = None,
    channels: Annotated[int, typer.Option(help="Of an image: 3, or 1 for grey.", rich_help_panel=_SPEC)] = 3,
    preset: Annotated[
        str, typer.Option(help="Preprocessing of images: imagenet, yolo or none.", rich_help_panel=_SPEC)
    ] = "none",
    mean: Annotated[str | None, typer.Option(help="By channel, on the scale 0 to 1.", rich_help_panel=_SPEC)] = None,
    std: Annotated[str | None, typer.Option(help="By channel, on the scale 0 to 1.", rich_help_panel=_SPEC)] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes.", rich_help_panel=_SPEC)] = None,
    class_names: Annotated[
        Path | None, typer.Option(help="File with one name on each line.", rich_help_panel=_SPEC)
    ] = None,
    evaluation: Annotated[Path | None, typer.Option(help="Held-out examples with labels, .npz.")] = None,
    lineage: Annotated[Path | None, typer.Option(help="Lineage as JSON, from the training run.")] = None,
    who: Who = None,
    product: TreeProduct = "",
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Capture a checkpoint as a program and give it a version."""
    from wherry import delivery
    from wherry.cli.descriptions import describe_by_words
    from wherry.cli.documents import read_examples, read_lineage, read_spec
    from wherry.cli.output import emit
    from wherry.core.errors import UsageError
    from wherry.registry import Registry

    if (spec is None) == (task is None):
        msg = "Either --spec or --task is needed, and not both."
        raise UsageError(msg, next_step="Give --spec FILE, or --task classification --input-size 224.")
    said: ModelSpec | Description
    if spec is not None:
        said = read_spec(spec)
    else:
        said = describe_by_words(
            task or "", input_size, input_shape, channels, preset, mean, std, classes=classes, class_names=class_names
        )
    submission = delivery.Submission(
        model=model,
        network=_network(network, classes),
        submodule=submodule,
        adapt=None if adapt is None else _imported(adapt),
        trust_pickle=allow_pickled_module,
        checkpoint=checkpoint,
        spec=said,
        golden=read_examples(golden),
        evaluation=None if evaluation is None else read_examples(evaluation),
        lineage=read_lineage(lineage),
    )
    with Registry.open(registry) as opened:
        version, new = delivery.register(opened, submission, who=actor(who), why=why)
        refresh_tree(opened, model, product)
    line = f"{version.name} ({version.semantic_version}) {'registered' if new else 'was registered before'}"
    notes = version.lineage.facts.get(delivery.NOTES, []) if new else []
    emit(version, [line, *(f"  {note}" for note in notes)], as_json=as_json, quiet=quiet)


def _network(text: str | None, classes: int | None) -> "Callable[[], nn.Module] | str | None":
    from wherry.checkpoint.networks import NetworkName, is_network_name

    if text is None:
        return None
    return str(NetworkName.parse(text).with_classes(classes)) if is_network_name(text) else _imported(text)


def _imported(text: str) -> "Callable[..., nn.Module]":
    import importlib

    from wherry.core.errors import BadInputError, UsageError

    module, colon, name = text.partition(":")
    if not colon:
        msg = f"{text!r} does not name a function."
        raise UsageError(msg, next_step="Write package.module:function.")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Callable[..., nn.Module] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        msg = f"{text} cannot be imported: {error}."
        raise BadInputError(msg, next_step="Run wherry where the training code can be imported.") from error
    else:
        return found
    finally:
        sys.path.pop(0)
