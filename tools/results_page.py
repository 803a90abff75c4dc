"""Writes docs/results.md from what was measured; says nothing that does not stand in the numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from wherry.core.report import Report
from wherry.core.variant import Target

MEGABYTE = 1e6
_LONGEST = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One network and one target; without a size nothing was built, without a report it runs elsewhere only."""

    reason: str = ""
    """Why nothing was built, why it cannot run here, why the proof failed, or why it was not measured."""
    size: int | None = None
    report: Report | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    memory_mb: float | None = None
    """Largest resident memory of a process that runs only this variant."""
    fallback: str | None = None
    verified: str = "none"
    overrides: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it was built and proven."""
        return self.report is not None and self.report.passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One row of the matrix."""

    family: str
    model: str
    version: str
    task: str
    input: str
    weights: int
    """Bytes of the checkpoint."""
    load: float | None = None
    """Mean number of processes that wanted a processor in the minute before the measurement."""
    cells: dict[str, Cell] = field(default_factory=dict)

    def over(self, before: "Network | None") -> "Network":
        """Return the same network with what was known of this version before and is not known now."""
        if before is None or before.version != self.version:
            return self
        load = before.load if self.load is None else self.load
        return replace(self, cells=before.cells | self.cells, load=load)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Everything that the page shows."""

    date: str
    machine: str
    tools: dict[str, str]
    targets: tuple[str, ...]
    networks: tuple[Network, ...]
    quick: bool = False


def page(matrix: Matrix) -> str:
    """Return the page as Markdown; equal numbers give an equal page."""
    parts = ["\n".join(_head(matrix)), "## Overview\n\n" + _overview(matrix)]
    parts += [f"## {network.model}\n\n" + "\n\n".join(_network(network, matrix.targets)) for network in matrix.networks]
    parts.append("## Eight bits against thirty-two\n\n" + _ratios(matrix))
    return "\n\n".join(parts) + "\n"


def _head(matrix: Matrix) -> Iterator[str]:
    yield "# Results"
    yield ""
    yield "Measured, not promised: made by `make results`, which trains the networks of"
    yield "[examples/](../examples/README.md), exports each for every target of `wherry targets`, proves and measures."
    yield "Do not edit it by hand."
    if matrix.quick:
        yield ""
        yield "**A quick run: the networks were trained for a few steps only, and the numbers mean nothing.**"
    yield ""
    yield f"- Date: {matrix.date}"
    yield f"- Machine: {matrix.machine}"
    yield "- Tools: " + ", ".join(f"{name} {number}" for name, number in sorted(matrix.tools.items()))
    yield "- Times are of one sample on one thread, without pre- and postprocessing, all variants of a network in turn."
    yield "- MB are millions of bytes. Quality is measured on held-out examples; *program* is the network in fp32."


def _overview(matrix: Matrix) -> str:
    names = [network.model for network in matrix.networks]
    rows = [
        [f"`{target}`", *(_mark(network.cells.get(target)) for network in matrix.networks)] for target in matrix.targets
    ]
    rows.append(["**proven**", *(str(sum(cell.passed for cell in it.cells.values())) for it in matrix.networks)])
    legend = (
        "A number is the median in ms of a proven variant; ✗ failed its proof; ○ was built here and runs elsewhere "
        "only, so it is not proven; - could not be built here; nothing: not run yet. The reasons stand below."
    )
    return legend + "\n\n" + table(["target", *names], rows)


def _mark(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.report is None:
        return "-" if cell.size is None else "○"
    if not cell.passed:
        return "✗"
    return "✓" if cell.p50_ms is None else f"{cell.p50_ms:.2f}"


def _network(network: Network, targets: Sequence[str]) -> Iterator[str]:
    cells = [(name, network.cells[name]) for name in targets if name in network.cells]
    built = [(name, cell) for name, cell in cells if cell.size is not None]
    busy = "" if network.load is None else f" Load of the machine before measuring: {network.load:.1f}."
    yield (
        f"[{network.family}](../examples/{network.family}/README.md): {network.task}, input {network.input}, "
        f"checkpoint {network.weights / MEGABYTE:.2f} MB.{busy}"
    )
    if built:
        quality = next((cell.report.quality for _, cell in built if cell.report and cell.report.quality), "quality")
        heading = ["target", "proof", quality, "program", "agreement", "cosine", "MB", "p50 ms", "p95 ms", "peak MB"]
        yield table(heading, [_built(target, cell) for target, cell in built])
    notes: dict[str, list[str]] = {}
    for target, cell in cells:
        for text in dict.fromkeys(_notes(cell)):
            notes.setdefault(_short(text), []).append(f"`{target}`")
    if notes:
        yield "\n".join(f"- {', '.join(names)}: {text}" for text, names in notes.items())


def _built(target: str, cell: Cell) -> list[str]:
    report = cell.report
    metrics = {} if report is None else report.metrics
    name = report.quality if report is not None and report.quality else ""
    cosine = None if report is None else min((output.cosine for output in report.outputs), default=None)
    return [
        f"`{target}`",
        "not here" if report is None else report.verdict.value,
        number(metrics.get(name), 4),
        number(metrics.get(f"reference_{name}"), 4),
        number(metrics.get("agreement"), 4),
        number(cosine, 6),
        number(None if cell.size is None else cell.size / MEGABYTE, 2),
        number(cell.p50_ms, 3),
        number(cell.p95_ms, 3),
        number(cell.memory_mb, 0),
    ]


def _notes(cell: Cell) -> Iterator[str]:
    if cell.report is None:
        yield f"not built: {cell.reason}" if cell.size is None else f"built, but not proven here: {cell.reason}"
    elif not cell.passed:
        yield f"proof failed: {cell.reason}"
    elif cell.reason:
        yield f"not measured: {cell.reason}"
    if cell.fallback:
        yield f"no measure of speed: {cell.fallback}"
    yield from (text for text in cell.overrides if text != cell.reason)


def _ratios(matrix: Matrix) -> str:
    heading = ["network", "target", "size", "time", "quality", "agreement"]
    rows = []
    for network in matrix.networks:
        for name in matrix.targets:
            target = Target.parse(name)
            cell, full = network.cells.get(name), network.cells.get(f"{target.format}-fp32")
            if target.precision != "fp32" and cell is not None and cell.report is not None and full is not None:
                rows.append(_ratio(network.model, name, cell, full, cell.report))
    text = "Against the same format in fp32: size and median time as a ratio, quality as a difference in points."
    return text + "\n\n" + table(heading, rows)


def _ratio(model: str, name: str, cell: Cell, full: Cell, report: Report) -> list[str]:
    quality, reference = report.metrics.get(report.quality or ""), report.metrics.get(f"reference_{report.quality}")
    points = None if quality is None or reference is None else (quality - reference) * 100
    return [
        model,
        f"`{name}`" if cell.passed else f"`{name}` (failed its proof)",
        _share(cell.size, full.size),
        _share(cell.p50_ms, full.p50_ms),
        "" if points is None else f"{points:+.2f}",
        number(report.metrics.get("agreement"), 4),
    ]


def _share(value: float | None, of: float | None) -> str:
    return "" if value is None or not of else f"{value / of:.2f}"


def number(value: float | None, digits: int) -> str:
    """Return a number with that many decimals, or nothing."""
    return "" if value is None else f"{value:.{digits}f}"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a bar inside a cell is written so that it does not end the cell."""
    lines = [list(heading), ["---"] * len(heading), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _short(text: str) -> str:
    """Return a message on one line, cut where it turns into a listing."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 2].rsplit(" ", 1)[0] + " …"
