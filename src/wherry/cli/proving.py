"""Verbs that judge what was built: prove, bench, choose."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from rich.console import RenderableType

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
    on: On = JobPlace.HERE,
    ray_address: RayAddress = None,
    timeout: Timeout = None,
    memory: Memory = None,
    parallel: Parallel = None,
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
        reports = delivery.prove(
            opened, ref, target, ladder=ladder, jobs=jobs_of(on, ray_address, timeout, memory, parallel)
        )
    climbed = [line for report in reports if len(report.rungs) > 1 for line in ladder_lines(report)]
    emit(reports, [proof_table(reports), *climbed], as_json=as_json, quiet=quiet)
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

    sizes, counts = numbers(batches, "--batches", least=1), numbers(threads, "--threads", least=0)
    console = progress_screen(quiet=quiet)
    with Registry.open(registry, create=False) as opened:
        found = delivery.bench(
            opened,
            ref,
            target,
            batches=sizes,
            threads=counts,
            seconds=seconds,
            on_skipped=lambda name, error: console.print(f"{name}: left out. {error.message}", highlight=False),
        )
        if html is not None:
            delivery.write_page(html, delivery.bench_page(opened, ref, found))
            console.print(f"The report is in {html}.", highlight=False)
    emit(found, [bench_table(found), *noise_lines(found)], as_json=as_json, quiet=quiet)


def choose(
    ref: Ref,
    max_p95: Annotated[str | None, typer.Option(help="Longest p95 of one call: 30ms.")] = None,
    max_p90: Annotated[str | None, typer.Option(help="Longest p90 of one call: 30ms.")] = None,
    max_latency: Annotated[str | None, typer.Option(help="Longest median of a whole call: 17ms.")] = None,
    min_fps: Annotated[float | None, typer.Option(help="Fewest examples a second through whole calls.")] = None,
    max_size: Annotated[str | None, typer.Option(help="Largest size of the files: 12MB.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="Largest memory of the process: 512MB.")] = None,
    max_drop: Annotated[str | None, typer.Option(help="Largest loss of the task's metric, in points: 1.")] = None,
    gates: Annotated[Path | None, typer.Option(help="File of gates: .toml or .json; options go before it.")] = None,
    device: Annotated[Path | None, typer.Option(help="What `wherry device detect --json` printed there.")] = None,
    batch: Annotated[int, typer.Option(help="Samples in one call.", min=1)] = 1,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say which variant a machine should use, and why the others lost; exit code 3 if nothing fits."""
    from wherry import delivery
    from wherry.cli.documents import read_profile
    from wherry.cli.measured import choice_lines
    from wherry.cli.output import emit, end_with
    from wherry.core.errors import GateRefusedError
    from wherry.core.units import milliseconds, points, size_bytes
    from wherry.proof.choose import Constraints
    from wherry.proof.gates import read_gates
    from wherry.registry import Registry

    limits = Constraints() if gates is None else read_gates(gates, ref.partition("@")[0])
    asked: dict[str, Any] = {
        "max_p95_ms": None if max_p95 is None else milliseconds(max_p95),
        "max_p90_ms": None if max_p90 is None else milliseconds(max_p90),
        "max_end_to_end_ms": None if max_latency is None else milliseconds(max_latency),
        "min_fps": min_fps,
        "max_size_mb": None if max_size is None else size_bytes(max_size) / 1e6,
        "max_memory_mb": None if max_memory is None else size_bytes(max_memory) / 1e6,
        "max_quality_drop": None if max_drop is None else points(max_drop),
    }
    limits = replace(limits, **{name: value for name, value in asked.items() if value is not None})
    profile = None if device is None else read_profile(device)
    with Registry.open(registry, create=False) as opened:
        choice = delivery.choose(opened, ref, limits, device=profile, batch=batch)
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


def ladder_lines(report: "Report") -> "list[RenderableType]":
    """Return the rungs of one proof, for people, and a line for each that broke or was not looked at."""
    from wherry.cli.output import percent, table

    rows = [
        (
            rung.name,
            rung.subject,
            ("-" if rung.reason else "yes") if rung.passed else "NO",
            "-" if rung.cosine is None else f"{rung.cosine:.6f}",
            "-" if rung.max_abs is None else f"{rung.max_abs:.2g}",
            percent(rung.agreement),
        )
        for rung in report.rungs
    ]
    title = f"Ladder of {report.target}, each rung against the one before"
    head = table(("rung", "what ran", "holds", "cosine", "max error", "agreement"), rows, title=title)
    return [head, *(f" {rung.name}: {rung.reason}" for rung in report.rungs if rung.reason), ""]


def explanation_table(explanation: "Explanation") -> "Sheet":
    """Return where one variant lost the signal, for people, worst first."""
    from wherry.cli.output import table

    rows = [
        (f"{layer.lost_db:.1f}", f"{layer.snr_db:.1f}", layer.operator, layer.module, layer.tensor)
        for layer in explanation.layers
    ]
    title = f"{explanation.target} against {explanation.reference}, worst first"
    return table(("lost dB", "SNR dB", "operator", "module", "tensor"), rows, title=title)
