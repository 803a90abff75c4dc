"""Fills docs/results.md: every network of examples/ x every target, trained, exported, proven and measured here.

Run it as `make results`, or `python -m tools.results --help`. Nothing is made twice: training is skipped while the
example's files are the same, exports come from the registry's cache, proofs and measurements from the registry.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path

from tools.recipes import Recipe, recipes
from tools.results_page import Cell, Matrix, Network, page
from wherry import delivery
from wherry.core.codec import from_json, to_json
from wherry.core.errors import WherryError
from wherry.core.model import Version
from wherry.core.report import Measurement, Report
from wherry.core.variant import Target, Variant
from wherry.durable import atomic_write
from wherry.export.listing import TargetRow, describe_targets
from wherry.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PAGE = ROOT / "docs" / "results.md"
TOOLS = (
    "torch",
    "onnx",
    "onnxruntime",
    "litert-torch",
    "ai-edge-litert",
    "openvino",
    "nncf",
    "executorch",
    "coremltools",
)
STATE = "results.json"
_STEP_S = 3600.0


def train(family: str, work: Path, *, quick: bool) -> list[Recipe]:
    """Copy an example into the work folder, train it there unless that was done with the same files, return its models.

    Raises:
        CalledProcessError: the training failed.
    """
    source, folder = EXAMPLES / family, work / family
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    found = recipes((source / "README.md").read_text(encoding="utf-8"))
    files = b"".join(path.read_bytes() for path in sorted(source.glob("*.py")))
    stamp, state = folder / "runs" / "trained-from", hashlib.sha256(files).hexdigest() + (" quick" if quick else "")
    complete = all((folder / recipe.checkpoint).is_file() for recipe in found)
    if not complete or not stamp.is_file() or stamp.read_text(encoding="utf-8") != state:
        _run([sys.executable, "train.py", *(["--quick"] if quick else [])], folder, work)
        stamp.write_text(state, encoding="utf-8")
    return found


def register(recipe: Recipe, family: str, work: Path) -> None:
    """Run the README's `wherry register` line in the work folder; a version that is there already stays as it is.

    Raises:
        CalledProcessError: the version was refused.
    """
    _run([sys.executable, "-m", "wherry", *recipe.register, "--quiet"], work / family, work)


def fill(recipe: Recipe, family: str, work: Path, rows: Sequence[TargetRow], seconds: float) -> Network:
    """Export, prove and measure one model's targets, and return what came of each."""
    with Registry.open(work / "registry") as registry:
        version = registry.versions(recipe.model)[0]
        calibration = recipe.calibration and delivery.CalibrationSource(path=work / family / recipe.calibration)
        targets = [Target.parse(row.name) for row in rows if row.installed]
        outcomes = delivery.export(registry, version.name, targets, calibration=calibration or None)
        failures = {it.target.name: it.error or "" for it in outcomes if it.variant is None}
        built = [it.variant for it in outcomes if it.variant is not None and it.target in targets]
        elsewhere = {row.name for row in rows if row.reason}
        here = [variant for variant in built if variant.name not in elsewhere]
        reports = _prove(registry, version, here)
        skipped: dict[str, str] = {}
        measurements, load = _measure(registry, version, here, reports, seconds, skipped)
        variants = {variant.name: variant for variant in built}
        cells = {row.name: _cell(row, variants, failures, reports, measurements, skipped) for row in rows}
    return Network(
        family=family,
        model=recipe.model,
        version=version.name,
        weights=(work / family / recipe.checkpoint).stat().st_size,
        input=str([axis if isinstance(axis, int) else "N" for axis in version.spec.inputs[0].shape]),
        task=version.spec.task,
        load=load,
        cells=cells,
    )


def _prove(registry: Registry, version: Version, built: Sequence[Variant]) -> dict[str, Report]:
    known = {variant.name: registry.reports(variant.digest) for variant in built}
    missing = [name for name, found in known.items() if not found]
    fresh = delivery.prove(registry, version.name, missing) if missing else []
    return {name: found[0] for name, found in known.items() if found} | {it.target: it for it in fresh}


def _measure(
    registry: Registry,
    version: Version,
    built: Sequence[Variant],
    reports: dict[str, Report],
    seconds: float,
    skipped: dict[str, str],
) -> tuple[dict[str, Measurement], float | None]:
    """Measure what passed, side by side in one run; numbers of different runs are never put beside each other.

    Returns:
        The measurements by target, and the load of the machine just before; None when nothing was measured now.
    """
    proven = [variant for variant in built if reports[variant.name].passed]
    known = {variant.name: registry.measurements(variant.digest) for variant in proven}
    newest = {name: found[0] for name, found in known.items() if found}
    if seconds > 0 and proven and (len(newest) != len(proven) or len({it.run for it in newest.values()}) > 1):
        load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
        found = delivery.bench(
            registry,
            version.name,
            list(known),
            threads=(1,),
            seconds=seconds,
            on_skipped=lambda target, error: skipped.update({target: error.message}),
        )
        return {it.target: it for it in found}, load
    return newest, None


def _cell(
    row: TargetRow,
    variants: dict[str, Variant],
    failures: dict[str, str],
    reports: dict[str, Report],
    measurements: dict[str, Measurement],
    skipped: dict[str, str],
) -> Cell:
    if not row.installed:
        return Cell(reason=row.reason or "its tools are not installed")
    variant = variants.get(row.name)
    if variant is None:
        return Cell(reason=failures.get(row.name) or "it was not built")
    report, measured = reports.get(row.name), measurements.get(row.name)
    if report is None:
        verified, overrides = variant.receipt.verified, variant.receipt.overrides
        return Cell(size=variant.size, reason=row.reason or "", verified=verified, overrides=overrides)
    return Cell(
        size=variant.size,
        overrides=variant.receipt.overrides,
        verified=variant.receipt.verified,
        report=report,
        p50_ms=None if measured is None else measured.p50_ms,
        p95_ms=None if measured is None else measured.p95_ms,
        memory_mb=None if measured is None else measured.peak_memory_mb,
        fallback=None if measured is None else measured.engine.fallback,
        reason=skipped.get(row.name, "") if report.passed else "; ".join(report.reasons),
    )


def _run(command: list[str], folder: Path, work: Path) -> None:
    print("$", *(Path(command[0]).name, *command[1:]), flush=True)
    paths = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"WHERRY_REGISTRY": str(work / "registry"), "PYTHONPATH": paths}
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=_STEP_S)


def machine() -> str:
    """Return processor, cores and system of this machine."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    )


def _merged(state: Path, fresh: Sequence[Network]) -> list[Network]:
    """Put what was made now over what earlier runs left, so that a run with filters replaces its own cells only."""
    old = from_json(state.read_bytes(), list[Network], what="The earlier results") if state.is_file() else []
    known = {network.model: network for network in old}
    for network in fresh:
        known[network.model] = network.over(known.get(network.model))
    merged = sorted(known.values(), key=lambda network: (network.family, network.model))
    atomic_write(state, to_json(merged))
    return merged


def go(family: str, asked: argparse.Namespace, work: Path, rows: Sequence[TargetRow]) -> list[str]:
    """Send one family down the road, keeping each network's results as they come; return what went wrong."""
    failed = []
    try:
        found = train(family, work, quick=asked.quick)
    except subprocess.SubprocessError as error:
        return [f"{family}: {error}"]
    for recipe in found:
        if not asked.model or recipe.model in asked.model:
            try:
                register(recipe, family, work)
                network = fill(recipe, family, work, rows, asked.seconds)
            except (subprocess.SubprocessError, WherryError) as error:
                failed.append(f"{recipe.model}: {error}")
            else:
                _merged(work / STATE, [network])
                print(f"{network.version}: {sum(cell.passed for cell in network.cells.values())} proven", flush=True)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill the matrix; end with 1 if a family could not be trained or registered."""
    families = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))
    rows = [row for row in describe_targets() if row.format != "null"]
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--family", action="append", choices=families, help="only this one; may be repeated")
    options.add_argument("--model", action="append", help="only this one of the examples' models; may be repeated")
    options.add_argument("--target", action="append", choices=[row.name for row in rows], help="only this one")
    options.add_argument("--work", type=Path, default=ROOT / "build" / "results", help="trainings and registry")
    options.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    options.add_argument("--seconds", type=float, default=1.0, help="time of each measurement; 0 measures nothing")
    options.add_argument("--quick", action="store_true", help="train a few steps only; the numbers mean nothing")
    options.add_argument("--page-only", action="store_true", help="run nothing; write the page from earlier runs")
    asked = options.parse_args(arguments)
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    wanted = [row for row in rows if not asked.target or row.name in asked.target]
    chosen = [] if asked.page_only else asked.family or families
    failed = [line for family in chosen for line in go(family, asked, work, wanted)]
    matrix = Matrix(
        date=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        tools={name: installed(name) for name in TOOLS},
        targets=tuple(row.name for row in rows),
        networks=tuple(_merged(work / STATE, ())),
        quick=asked.quick,
    )
    asked.out.write_text(page(matrix), encoding="utf-8")
    print("\n".join([f"wrote {asked.out}", *failed]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
