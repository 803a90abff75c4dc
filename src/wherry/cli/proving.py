"""Verbs that judge what was built: prove, bench, choose."""

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
    jobs_of,
    numbers,
)

if TYPE_CHECKING:
    from wherry.cli.output import Sheet
    from wherry.core.report import Report


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("prove")(prove)
    app.command("bench")(bench)
    app.command("choose")(choose)


def prove(
    ref: Ref,
    target: TargetNames = None,
    on: On = JobPlace.HERE,
    ray_address: RayAddress = None,
    timeout: Timeout = None,
    memory: Memory = None,
    parallel: Parallel = None,
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
        reports = delivery.prove(opened, ref, target, jobs=jobs_of(on, ray_address, timeout, memory, parallel))
    emit(reports, [proof_table(reports)], as_json=as_json, quiet=quiet)
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
