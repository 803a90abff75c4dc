"""Verbs of the road from a version to a signed bundle: targets, export, prove, bench, choose, bundle, keys."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.options import (
    DEFAULT_REGISTRY,
    DEFAULT_TRUST,
    AsJson,
    Product,
    Quiet,
    Ref,
    RegistryPath,
    TreeProduct,
    Trust,
    Who,
    Why,
    actor,
    refresh_tree,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherry.cli.output import Sheet
    from wherry.core.report import Choice, Measurement, Report
    from wherry.core.variant import Target
    from wherry.export.request import ExportOutcome

TargetNames = Annotated[
    list[str] | None, typer.Option("--target", "-t", help="A target such as onnx-int8; may be given several times.")
]

keys = typer.Typer(help="The publisher's keys.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("targets")(targets)
    app.command("export")(export)
    app.command("prove")(prove)
    app.command("bench")(bench)
    app.command("choose")(choose)
    app.command("bundle")(bundle)
    app.add_typer(keys, name="keys")


def targets(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List what can be built, and what is missing for the rest."""
    from wherry.cli.output import emit, table
    from wherry.export.listing import describe_targets

    rows = describe_targets()
    cells = [(r.name, r.engine, r.needs or "program", "yes" if r.installed else "no", r.reason or "") for r in rows]
    emit(
        rows,
        [table(("target", "runs on", "starts from", "ready", "what is missing"), cells)],
        as_json=as_json,
        quiet=quiet,
    )


def export(
    ref: Ref,
    target: TargetNames = None,
    everything: Annotated[bool, typer.Option("--all", help="Every target that is ready here.")] = False,
    product: TreeProduct = "",
    calibration: Annotated[Path | None, typer.Option(help="Examples for int8: .npz with `raw` and `labels`.")] = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build variants of a version, each in a child process."""
    from wherry import delivery
    from wherry.cli.documents import read_examples
    from wherry.cli.output import emit, end_with, progress_screen
    from wherry.core.errors import RefusedError, ToolchainMissingError
    from wherry.registry import Registry

    console = progress_screen(quiet=quiet)
    with Registry.open(registry, create=False) as opened:
        outcomes = delivery.export(
            opened,
            ref,
            _wanted(target, everything, with_calibration=calibration is not None),
            calibration=None if calibration is None else read_examples(calibration),
            calibration_source=str(calibration or ""),
            on_event=lambda name, state: console.print(f"{name}: {state}", highlight=False),
        )
        refresh_tree(opened, ref, product)
    emit(outcomes, [export_table(outcomes)], as_json=as_json, quiet=quiet)
    failed = [outcome for outcome in outcomes if outcome.variant is None]
    if failed:
        names = ", ".join(outcome.target.name for outcome in failed)
        kind = ToolchainMissingError if all(outcome.missing for outcome in failed) else RefusedError
        msg = f"{len(failed)} of {len(outcomes)} targets could not be built: {names}. {failed[0].error}"
        end_with(kind(msg, next_step=failed[0].next_step))


def _wanted(names: Sequence[str] | None, everything: bool, *, with_calibration: bool) -> "list[Target]":
    from wherry.core.errors import UsageError
    from wherry.core.variant import Target
    from wherry.export.listing import describe_targets

    if everything:
        rows = [row for row in describe_targets() if row.installed and row.format != "null"]
        return [Target.parse(row.name) for row in rows if with_calibration or not row.calibrated]
    if not names:
        msg = "No target was named."
        raise UsageError(msg, next_step="Give --target NAME or --all; `wherry targets` lists them.")
    return [Target.parse(name) for name in names]


def prove(
    ref: Ref,
    target: TargetNames = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run the golden set against variants; exit code 3 if one of them fails."""
    from wherry import delivery
    from wherry.cli.output import emit, end_with
    from wherry.core.errors import ProofRefusedError
    from wherry.registry import Registry

    with Registry.open(registry, create=False) as opened:
        reports = delivery.prove(opened, ref, target)
    emit(reports, [proof_table(reports)], as_json=as_json, quiet=quiet)
    failed = [report for report in reports if not report.passed]
    if failed:
        msg = "; ".join(f"{report.target} failed its proof: {', '.join(report.reasons)}" for report in failed) + "."
        end_with(ProofRefusedError(msg, next_step="Failed variants are left out of bundles; the others can ship."))


def bench(
    ref: Ref,
    target: TargetNames = None,
    batch: Annotated[int, typer.Option(help="Samples in one call.", min=1)] = 1,
    seconds: Annotated[float, typer.Option(help="Time for each variant once it is warm.", min=0.05)] = 1.0,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure proven variants side by side on this machine."""
    from wherry import delivery
    from wherry.cli.output import emit
    from wherry.registry import Registry

    with Registry.open(registry, create=False) as opened:
        found = delivery.bench(opened, ref, target, batch=batch, seconds=seconds)
    emit(found, [bench_table(found)], as_json=as_json, quiet=quiet)


def choose(
    ref: Ref,
    max_p90_ms: Annotated[float | None, typer.Option(help="Longest acceptable p90 in milliseconds.")] = None,
    max_size_mb: Annotated[float | None, typer.Option(help="Largest acceptable size in MB.")] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Largest acceptable loss of the task's metric, 0 to 1.")
    ] = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say which variant this machine should use, and why the others lost."""
    from wherry import delivery
    from wherry.cli.output import emit, end_with
    from wherry.core.errors import GateRefusedError
    from wherry.proof.choose import Constraints
    from wherry.registry import Registry

    limits = Constraints(max_p90_ms=max_p90_ms, max_size_mb=max_size_mb, max_quality_drop=max_drop)
    with Registry.open(registry, create=False) as opened:
        choice = delivery.choose(opened, ref, limits)
    emit(choice, choice_lines(choice), as_json=as_json, quiet=quiet)
    if choice.target is None:
        msg = "No proven variant keeps to the constraints."
        end_with(GateRefusedError(msg, next_step="Loosen a constraint, or export further targets."))


def bundle(
    ref: Ref,
    product: Product,
    why: Why,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the signed bundle; by default the version's packages in the tree.")
    ] = None,
    expires_days: Annotated[int, typer.Option(help="Days until the bundle's signatures expire.", min=1)] = 90,
    trust: Trust = DEFAULT_TRUST,
    who: Who = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Pack the proven variants of a version into one signed file, as the product's next release."""
    from wherry import delivery
    from wherry.cli.output import emit, megabytes
    from wherry.registry import Registry

    shipment = delivery.Shipment(
        product=product, trust=trust, out=out, who=actor(who), why=why, expires_days=expires_days
    )
    with Registry.open(registry, create=False) as opened:
        signed = delivery.bundle(opened, ref, shipment)
    manifest = signed.manifest
    result = {
        "path": str(signed.path),
        "sha256": signed.sha256,
        "size": signed.size,
        "release": manifest.release,
        "product": manifest.product,
        "version": manifest.version,
        "variants": [entry.variant.name for entry in manifest.entries],
    }
    line = f"{signed.path}: {manifest.name}, {len(manifest.entries)} variants, {megabytes(signed.size)}"
    emit(result, [line], as_json=as_json, quiet=quiet)


@keys.command("init")
def keys_init(trust: Trust = DEFAULT_TRUST, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Make the publisher's keys and the root of trust."""
    from wherry.bundle.trust.keys import init_keys
    from wherry.cli.output import emit

    summary = init_keys(trust)
    line = f"{trust}: keys made. Keep this folder private, and give {trust}/metadata/1.root.json to your devices."
    emit(summary, [line], as_json=as_json, quiet=quiet)


@keys.command("list")
def keys_list(trust: Trust = DEFAULT_TRUST, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List the publisher's keys."""
    from wherry.bundle.trust.keys import list_keys
    from wherry.cli.output import emit, table

    found = list_keys(trust)
    rows = [(key.role, key.keyid[:12], key.scheme, key.expires) for key in found]
    emit(found, [table(("role", "key", "scheme", "metadata expires"), rows)], as_json=as_json, quiet=quiet)


def export_table(outcomes: "Sequence[ExportOutcome]") -> "Sheet":
    """Return what was built, for people."""
    from wherry.cli.output import megabytes, table

    rows = [
        (
            o.target.name,
            "failed" if o.variant is None else "reused" if o.reused else "built",
            "" if o.variant is None else megabytes(o.variant.size),
            f"{o.seconds:.1f} s",
            "; ".join(part for part in (o.error, o.next_step) if part) if o.variant is None else "",
        )
        for o in outcomes
    ]
    return table(("target", "result", "size", "time", "why"), rows)


def proof_table(reports: "Sequence[Report]") -> "Sheet":
    """Return the proofs, for people."""
    from wherry.cli.output import percent, table

    rows = [
        (
            r.target,
            r.verdict.value,
            percent(r.metrics.get("agreement")),
            percent(r.metrics.get("accuracy")),
            "-" if not r.outputs else f"{max(o.max_abs for o in r.outputs):.2g}",
            "-" if not r.outputs else f"{min(o.cosine for o in r.outputs):.6f}",
            "; ".join(r.reasons),
        )
        for r in reports
    ]
    return table(("variant", "verdict", "agreement", "accuracy", "max error", "cosine", "why"), rows)


def bench_table(measurements: "Sequence[Measurement]") -> "Sheet":
    """Return the measurements, for people."""
    from wherry.cli.output import table

    rows = [
        (
            m.target,
            f"{m.p50_ms:.3f}",
            f"{m.ci95_ms[0]:.3f}-{m.ci95_ms[1]:.3f}",
            "-" if m.p90_ms is None else f"{m.p90_ms:.3f}",
            f"{m.throughput_per_s:.0f}",
            f"{m.load_ms:.0f}",
            f"{m.size_bytes / 1e6:.2f}",
        )
        for m in sorted(measurements, key=lambda m: m.p50_ms)
    ]
    return table(("variant", "median ms", "95 % interval", "p90 ms", "per s", "load ms", "MB"), rows)


def choice_lines(choice: "Choice") -> "list[RenderableType]":
    """Return the choice and the why-nots, for people."""
    from wherry.cli.output import table

    head = f"Use {choice.target}: {choice.reason}." if choice.target else f"Nothing fits: {choice.reason}."
    rows = [(why.target, why.reason) for why in choice.why_nots]
    return [head, table(("not", "because"), rows)] if rows else [head]
