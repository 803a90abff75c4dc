"""The verb `doctor`: what this machine can do, and the exact command for what is missing."""

from typing import TYPE_CHECKING

import typer

from wherry.cli.options import AsJson, Quiet

if TYPE_CHECKING:
    from rich.console import RenderableType


def add_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("doctor")(doctor)


def doctor(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Say what this machine has, which engines and targets work, and how to get the rest."""
    from wherry.agent.probe import detect
    from wherry.cli.output import emit, table
    from wherry.export.listing import describe_targets
    from wherry.runtime.engines import ENGINES, engine_class

    profile = detect()
    engines = {name: engine_class(name) for name in ENGINES if name != "null"}
    targets = describe_targets()
    engine_rows = [
        (name, kind.version() or "-", kind.unsupported() or "ready" if kind.version() else kind.install_hint())
        for name, kind in engines.items()
    ]
    target_rows = [(row.name, "ready" if row.installed else row.reason) for row in targets]
    machine = (
        f"{profile.os} {profile.arch}, {profile.cpu}, {profile.cores} cores, {profile.memory_bytes / 2**30:.0f} GiB"
    )
    parts: list[RenderableType] = [
        machine,
        table(("engine", "version", "state"), engine_rows),
        table(("target", "state"), target_rows),
    ]
    result = {
        "profile": profile,
        "engines": {name: kind.version() for name, kind in engines.items()},
        "targets": targets,
    }
    emit(result, parts, as_json=as_json, quiet=quiet)
