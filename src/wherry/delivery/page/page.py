"""The benchmark report: what to use and why, every number in a table, and the plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template

from wherry.core.report import Choice, Measurement, Report
from wherry.delivery.page.plots import Point, distributions, pareto, stages, throughput
from wherry.delivery.page.style import STYLE
from wherry.proof.noise import run_band, ties

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="soft">$machine &middot; $at</p>
$choice
$table
<div class="cards">
$cards
</div>
$sweep
<section class="card wide"><h2>How this was measured</h2><ul>$notes</ul></section>
</main>
</body>
</html>
""")
_KEYS = (("prepare", "preprocessing"), ("infer", "the network"), ("answer", "postprocessing"))
_HEADS = ("median ms", "95 % interval", "p95 ms", "p99 ms", "whole ms", "per s", "load ms", "peak MiB", "MB", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the report is about."""

    name: str
    """`NAME@v2`."""
    measurements: Sequence[Measurement]
    """At least one; plots of single settings show the smallest batch and number of threads."""
    reports: dict[str, Report]
    """The newest proof by the target's name, for the quality."""
    choice: Choice | None = None


def render(subject: Subject) -> str:
    """Return the whole page: one HTML file without scripts and without a single outside request."""
    plain = _plain(subject.measurements)
    points = [_point(m, subject) for m in plain]
    quality = next((r.quality for r in subject.reports.values() if r.quality), "")
    first = subject.measurements[0]
    return _PAGE.substitute(
        title=escape(f"{subject.name}: speed, size and quality"),
        style=STYLE,
        machine=escape(first.machine),
        at=escape(first.at),
        choice=_choice(subject.choice),
        table=_table(subject, plain, quality),
        sweep=_sweep(subject.measurements),
        cards="\n".join(_cards(points, subject, quality)),
        notes="".join(f"<li>{escape(note)}</li>" for note in _notes(subject.measurements)),
    )


def _plain(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return the measurements of the smallest setting, fastest first."""
    setting = min((m.batch, m.threads) for m in measurements)
    return sorted((m for m in measurements if (m.batch, m.threads) == setting), key=lambda m: m.p50_ms)


def _point(m: Measurement, subject: Subject) -> Point:
    choice = subject.choice
    return Point(
        measurement=m,
        quality=_quality(subject.reports.get(m.target)),
        best=choice is not None and choice.target == m.target,
        pareto=choice is not None and m.target in choice.pareto,
    )


def _quality(report: Report | None) -> float | None:
    return None if report is None or report.quality is None else report.metrics.get(report.quality)


def _choice(choice: Choice | None) -> str:
    if choice is None:
        return ""
    if choice.target is None:
        return f'<div class="choice none"><strong>Nothing fits.</strong><p>{escape(choice.reason)}.</p></div>'
    return f'<div class="choice"><strong>Use {escape(choice.target)}</strong><p>{escape(choice.reason)}.</p></div>'


def _table(subject: Subject, plain: list[Measurement], quality: str) -> str:
    """Return a row for each variant at the smallest setting."""
    heads = ("variant", quality or "quality", *_HEADS)
    rows = []
    for m in plain:
        value, choice = _quality(subject.reports.get(m.target)), subject.choice
        why = "" if choice is None else _why_not(m.target, choice)
        cells = (m.target, "-" if value is None else f"{value:.2%}", *_speed(m), *_cost(m), why)
        rows.append((cells, choice is not None and choice.target == m.target))
    first = plain[0]
    setting = f"Batch {first.batch}, {first.threads or 'automatic'} threads"
    return _sheet(f"Variants side by side ({setting.lower()})", heads, rows)


def _sweep(measurements: Sequence[Measurement]) -> str:
    """Return a row for each variant and setting; empty where there is one setting only."""
    if len({(m.batch, m.threads) for m in measurements}) < 2:
        return ""
    ordered = sorted(measurements, key=lambda m: (m.threads, m.batch, m.p50_ms))
    rows = [((m.target, str(m.batch), str(m.threads or "auto"), *_speed(m), ""), False) for m in ordered]
    return _sheet("Every setting", ("variant", "batch", "threads", *_HEADS[:6], ""), rows)


def _sheet(title: str, heads: Sequence[str], rows: Sequence[tuple[Sequence[str], bool]]) -> str:
    """Return a table; the last column holds words, and a row that is true is the recommended one."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = ""
    for (*cells, words), best in rows:
        numbers = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        kind = ' class="best"' if best else ""
        body += f'<tr{kind}>{numbers}<td class="words">{escape(words)}</td></tr>'
    return (
        f'<section class="card wide"><h2>{escape(title)}</h2><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _speed(m: Measurement) -> tuple[str, ...]:
    return (
        f"{m.p50_ms:.3f}",
        f"{m.ci95_ms[0]:.3f}-{m.ci95_ms[1]:.3f}",
        *("-" if value is None else f"{value:.3f}" for value in (m.p95_ms, m.p99_ms)),
        "-" if m.stages is None else f"{m.stages.end_to_end_ms:.3f}",
        f"{m.throughput_per_s:,.0f}",
    )


def _cost(m: Measurement) -> tuple[str, ...]:
    memory = "-" if m.peak_memory_mb is None else f"{m.peak_memory_mb:,.0f}"
    return f"{m.load_ms:,.0f}", memory, f"{m.size_bytes / 1e6:.2f}"


def _why_not(target: str, choice: Choice) -> str:
    return "" if choice.target == target else "; ".join(w.reason for w in choice.why_nots if w.target == target)


def _cards(points: list[Point], subject: Subject, quality: str) -> list[str]:
    keys = "".join(f'<span class="key {kind}"></span>{words}' for kind, words in _KEYS)
    up = f"{quality} and speed" if any(p.quality is not None for p in points) else "size and speed"
    rating = f"Higher and further left is better; the disc's area is the size ({up})."
    found = [
        ("Latency", "Every call, none left out; full line: median, dotted: p95.", distributions(points)),
        (
            "Quality, speed and size",
            f"{rating} The dashed line joins what nothing else beats.",
            pareto(points, quality),
        ),
        ("Where the time goes", keys, stages(points)),
        ("Throughput", "Closed loop: one call after the other.", throughput(subject.measurements)),
    ]
    return [
        f'<figure class="card" style="margin:0"><h2>{title}</h2><figcaption>{caption}</figcaption>{drawing}</figure>'
        for title, caption, drawing in found
        if drawing
    ]


def _notes(measurements: Sequence[Measurement]) -> list[str]:
    notes = [
        "Variants were called in turn, a few calls each, after a steady state was seen; no call was left out.",
        "A percentile is shown where at least five calls lie beyond it. The interval is a bootstrap of the median.",
        "Load time and peak memory are of a fresh process that opens only this variant, Python included.",
    ]
    for run in dict.fromkeys(m.run for m in measurements):
        together = [m for m in measurements if m.run == run]
        band, first = run_band(together), together[0]
        pairs = ", ".join(f"{a.target} and {b.target}" for a, b in ties(together))
        if band is not None:
            where = f"Batch {first.batch}, {first.threads or 'automatic'} threads"
            equal = f"; within that noise lie {pairs}" if pairs else ""
            notes.append(f"{where}: a variant differs from itself by up to {band:.1%} (A/A){equal}.")
    notes += [f"{m.target}: no steady state was reached." for m in measurements if not m.steady]
    notes += [f"The measurement of {m.target} is void: {m.void}." for m in measurements if m.void]
    engines = sorted({f"{m.engine.engine} {m.engine.version} on {m.engine.device}" for m in measurements})
    return [*notes, f"Engines: {', '.join(engines)}."]
