"""Verbs that move aliases and tell their history: promote, rollback, log."""

from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.options import (
    DEFAULT_REGISTRY,
    AsJson,
    Quiet,
    Ref,
    RegistryPath,
    TreeProduct,
    Who,
    Why,
    actor,
    refresh_tree,
)

if TYPE_CHECKING:
    from wherry.core.model import Event


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("promote")(promote)
    app.command("rollback")(rollback)
    app.command("log")(log)


def promote(
    ref: Ref,
    alias: Annotated[str, typer.Argument(help="The alias to move, such as current_best or production.")],
    why: Why,
    who: Who = None,
    product: TreeProduct = "",
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Point an alias at a version."""
    from wherry import delivery
    from wherry.cli.output import emit
    from wherry.registry import Registry

    with Registry.open(registry, create=False) as opened:
        event = delivery.promote(opened, ref, alias, who=actor(who), why=why)
        refresh_tree(opened, event.model, product)
    was = "nothing" if event.previous is None else f"v{event.previous}"
    line = f"{event.model}@{alias} is v{event.version} now (was {was})"
    emit(event, [line], as_json=as_json, quiet=quiet)


def rollback(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    why: Why,
    alias: Annotated[str, typer.Argument(help="The alias to move back.")] = "current_best",
    who: Who = None,
    product: TreeProduct = "",
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Point an alias at what was live before."""
    from wherry.cli.output import emit
    from wherry.registry import Registry

    with Registry.open(registry, create=False) as opened:
        event = opened.rollback(model, alias, who=actor(who), why=why)
        refresh_tree(opened, model, product)
    line = f"{model}@{alias} is back on v{event.version} (was v{event.previous})"
    emit(event, [line], as_json=as_json, quiet=quiet)


def log(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    limit: Annotated[int, typer.Option(help="How many events, newest first.", min=1)] = 100,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Tell who did what, when and why."""
    from wherry.cli.output import emit, table
    from wherry.registry import Registry

    with Registry.open(registry, create=False) as opened:
        events = opened.events(model, limit=limit)
    rows = [(e.at[:19].replace("T", " "), e.who, _what(e), e.why) for e in events]
    emit(events, [table(("when", "who", "what", "why"), rows)], as_json=as_json, quiet=quiet)


def _what(event: "Event") -> str:
    if event.kind == "alias_moved":
        return f"{event.model}@{event.alias} -> v{event.version}"
    number = f" {event.details['release']}" if event.kind == "released" else ""
    kind = "is release" if event.kind == "released" else event.kind
    return f"{event.model}@v{event.version} {kind}{number}"
