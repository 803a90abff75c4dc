"""Verbs that build: targets, export."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.options import (
    DEFAULT_REGISTRY,
    AsJson,
    JobPlace,
    Memory,
    On,
    Parallel,
    Quiet,
    RayAddress,
    Ref,
    RegistryPath,
    TargetNames,
    Timeout,
    TreeProduct,
    jobs_of,
    refresh_tree,
)

if TYPE_CHECKING:
    from rich.console import Console

    from wherry.cli.output import Sheet
    from wherry.core.variant import Target
    from wherry.export.request import ExportOutcome


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("targets")(targets)
    app.command("export")(export)
    app.command("lint")(lint)


def targets(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List what can be built, and what is missing for the rest."""
    from wherry.cli.output import emit, table
    from wherry.export.listing import describe_targets

    rows = describe_targets()
    alike: dict[tuple[str, str, bool, str], list[str]] = {}
    for row in rows:
        precision = f"{row.precision}*" if row.calibrated else row.precision
        alike.setdefault((row.format, row.engine, row.installed, row.reason or ""), []).append(precision)
    cells = [
        (name, " ".join(precisions), engine, "yes" if installed else "no")
        for (name, engine, installed, _), precisions in alike.items()
    ]
    remarks = [f"{name}: {reason}" for name, _, _, reason in alike if reason]
    emit(
        rows,
        [
            table(("format", "precisions", "runs on", "here"), cells),
            "A target is a format and a precision, as in onnx-int8. * needs a calibration set.",
            *remarks,
        ],
        as_json=as_json,
        quiet=quiet,
    )


def export(
    ref: Ref,
    target: TargetNames = None,
    everything: Annotated[bool, typer.Option("--all", help="Every target that is ready here.")] = False,
    product: TreeProduct = "",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="[FORMAT.]KEY=VALUE", help="An option of the format.")
    ] = None,
    opset: Annotated[
        int | None, typer.Option(help="Opset of ONNX files, 11 to 25; short for --option opset=N.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Examples for int8: a folder of pictures, or an .npz with `raw` and `labels`.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--calibration-samples", help="Choose this many of them by chance.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option("--calibration-seed", help="Of that choice.", min=0)] = 0,
    snapshot: Annotated[
        Path | None, typer.Option("--calibration-snapshot", help="Only examples of this data-set snapshot (JSON).")
    ] = None,
    prune: Annotated[
        str | None, typer.Option(help="Take weights out first: unstructured:0.5 or structured:0.2.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Points of the task's metric that int8 may lose; 1 where there are labels."),
    ] = None,
    time_budget: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="For finding the layers that int8 has to leave in float.")
    ] = 600.0,
    on: On = JobPlace.HERE,
    ray_address: RayAddress = None,
    timeout: Timeout = None,
    memory: Memory = None,
    parallel: Parallel = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build variants of a version, each in a child process."""
    from wherry import delivery
    from wherry.cli.output import emit, end_with, progress_screen
    from wherry.core.errors import RefusedError, ToolchainMissingError
    from wherry.export.options import with_options
    from wherry.registry import Registry

    asked = [*(option or []), *([] if opset is None else [f"opset={opset}"])]
    wanted = with_options(_wanted(target, everything, with_calibration=calibration is not None), asked)

    console = progress_screen(quiet=quiet)
    source = None
    if calibration is not None:
        source = delivery.CalibrationSource(path=calibration, samples=samples, seed=seed, snapshot=snapshot)
    with Registry.open(registry, create=False) as opened:
        outcomes = delivery.export(
            opened,
            ref,
            wanted,
            calibration=source,
            pruning=prune,
            limits=delivery.AccuracyLimits(max_drop=max_drop, time_budget_s=time_budget),
            jobs=jobs_of(on, ray_address, timeout, memory, parallel),
            on_event=lambda name, state: console.print(f"{name}: {state}", highlight=False),
        )
        folder = refresh_tree(opened, ref, product)
        _tell_kits(console, outcomes, folder)
    emit(outcomes, [export_table(outcomes)], as_json=as_json, quiet=quiet)
    failed = [outcome for outcome in outcomes if outcome.variant is None]
    if failed:
        names = ", ".join(outcome.target.name for outcome in failed)
        kind = ToolchainMissingError if all(outcome.missing for outcome in failed) else RefusedError
        msg = f"{len(failed)} of {len(outcomes)} targets could not be built: {names}. {failed[0].error}"
        end_with(kind(msg, next_step=failed[0].next_step))


def lint(
    ref: Ref,
    calibration: Annotated[
        Path | None, typer.Option(help="Examples: a folder of pictures, or an .npz with `raw` and `labels`.")
    ] = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say what eight bits will probably damage in a version, before an int8 variant is built."""
    from wherry import delivery
    from wherry.cli.output import emit, table
    from wherry.registry import Registry

    source = None if calibration is None else delivery.CalibrationSource(path=calibration)
    with Registry.open(registry, create=False) as opened:
        findings = delivery.lint(opened, ref, calibration=source)
    rows = [
        (f.kind, ", ".join(f.modules[:3]) + (" …" if len(f.modules) > 3 else ""), f.why, f.advice) for f in findings
    ]
    sheet = table(("sign", "modules", "why", "what to do"), rows)
    emit(
        findings,
        [sheet] if rows else ["Nothing that eight bits would be known to damage."],
        as_json=as_json,
        quiet=quiet,
    )


def _wanted(names: Sequence[str] | None, everything: bool, *, with_calibration: bool) -> "list[Target]":
    from wherry.core.errors import UsageError
    from wherry.core.variant import Target
    from wherry.export.listing import describe_targets

    if everything:
        rows = [row for row in describe_targets() if row.installed and not row.kit and row.format != "null"]
        return [Target.parse(row.name) for row in rows if with_calibration or not row.calibrated]
    if not names:
        msg = "No target was named."
        raise UsageError(msg, next_step="Give --target NAME or --all; `wherry targets` lists them.")
    return [Target.parse(name) for name in names]


def _why(outcome: "ExportOutcome") -> str:
    if outcome.variant is None:
        return "; ".join(part for part in (outcome.error, outcome.next_step) if part)
    effective = outcome.variant.receipt.effective
    said = []
    if control := effective.get("accuracy_control"):
        said.append(
            f"{control['metric']} {control['reference']:.4f} -> {control['after']:.4f}"
            f", layers in float: {len(control['layers_left_in_float'])}"
        )
    if warnings := effective.get("warnings"):
        said.append(f"warnings: {len(warnings)}, see `wherry lint`")
    return "; ".join(said)


def _tell_kits(console: "Console", outcomes: "Sequence[ExportOutcome]", folder: Path) -> None:
    """Say where the kits for vendors' toolchains lie, as nobody can run them here."""
    from wherry.registry.tree import export_folder

    for outcome in outcomes:
        if outcome.variant is not None and outcome.variant.receipt.effective.get("toolchain") == "absent":
            where = export_folder(folder, outcome.variant)
            console.print(
                f"{outcome.target.name}: a kit, not a model; its README and zip are in {where}", soft_wrap=True
            )


def export_table(outcomes: "Sequence[ExportOutcome]") -> "Sheet":
    """Return what was built, for people."""
    from wherry.cli.output import megabytes, table

    rows = [
        (
            o.target.name,
            "failed" if o.variant is None else "reused" if o.reused else "built",
            "" if o.variant is None else megabytes(o.variant.size),
            f"{o.seconds:.1f} s",
            _why(o),
        )
        for o in outcomes
    ]
    return table(("target", "result", "size", "time", "remarks"), rows)
