"""Verbs that judge what was built: prove, bench, choose."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.options import (
    DEFAULT_REGISTRY,
    AsJson,
    Quiet,
    Ref,
    RegistryPath,
    TargetNames,
    numbers,
)

if TYPE_CHECKING:
    from wherry.cli.output import Sheet
    from wherry.core.report import Report
    from wherry.proof.explain import Explanation


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("prove")(prove)
    app.command("bench")(bench)
    app.command("choose")(choose)


def prove(
    ref: Ref,
    target: TargetNames = None,
    ladder: Annotated[bool, typer.Option("--ladder", help="Climb the ladder of variants that pass, too.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which module of the network lost how much of the signal instead.")
    ] = False,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run the golden set against variants; exit code 3 if one of them fails, with the first rung that broke."""
    from wherry import delivery
    from wherry.cli.output import emit, end_with
    from wherry.core.errors import ProofRefusedError
    from wherry.registry import Registry

    with Registry.open(registry, create=False) as opened:
        if explain:
            explanations = delivery.explain(opened, ref, target)
            emit(explanations, [explanation_table(one) for one in explanations], as_json=as_json, quiet=quiet)
            return
        reports = delivery.prove(opened, ref, target, ladder=ladder)
    climbed = [report for report in reports if len(report.rungs) > 1]
    emit(reports, [proof_table(reports), *map(ladder_table, climbed)], as_json=as_json, quiet=quiet)
    failed = [report for report in reports if not report.passed]
    if failed:
        msg = "; ".join(f"{report.target} failed its proof: {', '.join(report.reasons)}" for report in failed) + "."
        end_with(ProofRefusedError(msg, next_step="Failed variants are left out of bundles; the others can ship."))


def bench(
    ref: Ref,
    target: TargetNames = None,
    batches: Annotated[str, typer.Option("--batches", "--batch", help="Samples in one call: 1,4,8.")] = "1",
    threads: Annotated[str, typer.Option(help="Threads of the runtime: 1,2; 0 lets it decide.")] = "0",
    seconds: Annotated[float, typer.Option(help="Time for each variant once it is warm.", min=0.05)] = 1.0,
    html: Annotated[Path | None, typer.Option(help="Write a report with plots into this file.")] = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure proven variants side by side on this machine."""
    from wherry import delivery
    from wherry.cli.measured import bench_table, noise_lines
    from wherry.cli.output import emit, progress_screen
    from wherry.registry import Registry

    console = progress_screen(quiet=quiet)
    with Registry.open(registry, create=False) as opened:
        found = delivery.bench(
            opened,
            ref,
            target,
            batches=numbers(batches, "--batches", least=1),
            threads=numbers(threads, "--threads", least=0),
            seconds=seconds,
            on_skipped=lambda name, error: console.print(f"{name}: left out. {error.message}", highlight=False),
        )
        if html is not None:
            delivery.write_page(html, delivery.bench_page(opened, ref, found))
            console.print(f"The report is in {html}.", highlight=False)
    emit(found, [bench_table(found), *noise_lines(found)], as_json=as_json, quiet=quiet)


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
    from wherry.cli.measured import choice_lines
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


def proof_table(reports: "Sequence[Report]") -> "Sheet":
    """Return the proofs, for people."""
    from wherry.cli.output import percent, table

    rows = [
        (
            r.target,
            r.verdict.value,
            percent(r.metrics.get("agreement")),
            "-" if r.quality is None else f"{r.quality} {percent(r.metrics[r.quality])}",
            "-" if not r.outputs else f"{max(o.max_abs for o in r.outputs):.2g}",
            "-" if not r.outputs else f"{min(o.cosine for o in r.outputs):.6f}",
            "; ".join(r.reasons),
        )
        for r in reports
    ]
    return table(("variant", "verdict", "agreement", "quality", "max error", "cosine", "why"), rows)


def ladder_table(report: "Report") -> "Sheet":
    """Return the rungs of one proof, for people."""
    from wherry.cli.output import percent, table

    rows = [
        (
            rung.name,
            rung.subject,
            ("-" if rung.reason else "yes") if rung.passed else "NO",
            "-" if rung.cosine is None else f"{rung.cosine:.6f}",
            "-" if rung.max_abs is None else f"{rung.max_abs:.2g}",
            percent(rung.agreement),
            rung.reason,
        )
        for rung in report.rungs
    ]
    headings = ("rung", "what ran", "holds", "cosine", "max error", "agreement", "why")
    return table(headings, rows, title=f"Ladder of {report.target}, each rung against the one before")


def explanation_table(explanation: "Explanation") -> "Sheet":
    """Return where one variant lost the signal, for people, worst first."""
    from wherry.cli.output import table

    rows = [
        (f"{layer.lost_db:.1f}", f"{layer.snr_db:.1f}", layer.operator, layer.module, layer.tensor)
        for layer in explanation.layers
    ]
    title = f"{explanation.target} against {explanation.reference}: decibels that each layer lost, worst first"
    return table(("lost dB", "SNR dB", "operator", "module", "tensor"), rows, title=title)
