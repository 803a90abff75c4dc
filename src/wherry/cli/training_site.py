"""Verbs of the training site: register, list, show."""

from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.options import DEFAULT_REGISTRY, AsJson, Quiet, Ref, RegistryPath
from wherry.cli.registering import register

if TYPE_CHECKING:
    from rich.console import RenderableType


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("register")(register)
    app.command("list")(list_versions)
    app.command("show")(show)


def list_versions(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List models and versions, newest first."""
    from wherry.cli.output import emit, percent, table
    from wherry.registry import Registry

    with Registry.open(registry, create=False) as opened:
        names = [model] if model else opened.models()
        versions = [version for name in names for version in opened.versions(name)]
        aliases = {name: opened.aliases(name) for name in names}
    rows = [
        (
            f"{v.name} ({v.semantic_version})",
            v.created_at[:16].replace("T", " "),
            percent(v.metrics.get("accuracy")),
            v.lineage.training_images,
            v.lineage.new_images,
            ", ".join(alias for alias, number in aliases[v.model].items() if number == v.number),
        )
        for v in versions
    ]
    headings = ("version", "created", "accuracy", "images", "new", "aliases")
    empty = f"{registry} holds no versions yet. Register one with `wherry register`."
    emit(versions, [table(headings, rows) if rows else empty], as_json=as_json, quiet=quiet)


def show(ref: Ref, registry: RegistryPath = DEFAULT_REGISTRY, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Show a version: lineage, metrics, variants and their proofs."""
    from wherry.cli.output import emit, megabytes, table
    from wherry.registry import Registry

    with Registry.open(registry, create=False) as opened:
        version = opened.version(ref)
        variants = opened.variants(version.model, version.number)
        reports = {v.name: next(iter(opened.reports(v.digest)), None) for v in variants}
    facts: list[tuple[str, object]] = [
        ("digest", version.digest),
        ("semantic version", version.semantic_version),
        ("created", version.created_at),
        ("task", version.spec.task),
        ("inputs", ", ".join(f"{t.name} {t.dtype}{list(t.shape)}" for t in version.spec.inputs)),
        ("outputs", ", ".join(f"{t.name} {t.dtype}{list(t.shape)}" for t in version.spec.outputs)),
        ("images", f"{version.lineage.training_images} ({version.lineage.new_images} new)"),
        ("strategy", f"{version.lineage.training_strategy}, {version.lineage.total_epochs} epochs"),
        ("from", version.lineage.previous_version or "-"),
        *((name, f"{value:.4f}") for name, value in sorted(version.metrics.items())),
    ]
    rows = [
        (v.name, v.engine, megabytes(v.size), report.verdict.value if (report := reports[v.name]) else "not proven")
        for v in variants
    ]
    parts: list[RenderableType] = [table((version.name, ""), facts)]
    if rows:
        parts.append(table(("variant", "engine", "size", "proof"), rows))
    result = {"version": version, "variants": variants, "reports": [r for r in reports.values() if r]}
    emit(result, parts, as_json=as_json, quiet=quiet)
