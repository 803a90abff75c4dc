"""The plots of a benchmark: latency distributions, size against latency against quality, stages, throughput."""

from collections.abc import Sequence
from dataclasses import dataclass

from wherry.core.report import Measurement
from wherry.delivery.page.drawing import (
    LEFT,
    RIGHT,
    WIDTH,
    Scale,
    bar,
    bottom_axis,
    left_axis,
    line,
    path,
    plot,
    short,
    spread,
    text,
)

_BINS = 72
_ROW = 46
_HIGH = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One variant with its place among the others."""

    measurement: Measurement
    quality: float | None
    """The task's metric, 0 to 1; None where it was not measured."""
    best: bool
    pareto: bool


def distributions(points: Sequence[Point]) -> str:
    """Return how long the calls of each variant took: every call, none left out."""
    seen = [p for p in points if p.measurement.latencies_ms]
    values = [value for p in seen for value in (p.measurement.latencies_ms[0], p.measurement.latencies_ms[-1])]
    if not values:
        return ""
    scale = Scale.over(values, LEFT, WIDTH - RIGHT)
    bottom = _ROW * len(seen) + 6
    rows = "".join(_row(point, scale, index * _ROW + 31) for index, point in enumerate(seen))
    body = bottom_axis(scale, 6, bottom, "milliseconds for one call") + rows
    return plot(body, bottom + 40, "Distribution of latency for each variant")


def _row(point: Point, scale: Scale, middle: float) -> str:
    m, kind = point.measurement, "best" if point.best else "other"
    counts = [0] * _BINS
    for value in m.latencies_ms:
        share = (scale(value) - scale.start) / (scale.stop - scale.start)
        counts[min(int(share * _BINS), _BINS - 1)] += 1
    wide = (scale.stop - scale.start) / _BINS
    tall = max(counts)
    blocks = "".join(
        bar(scale.start + index * wide, middle - h, wide + 0.3, 2 * h, f"fill {kind}")
        for index, count in enumerate(counts)
        if count and (h := max(_HIGH * count / tall, 0.7))
    )
    marks = line(scale(m.p50_ms), middle - _HIGH, scale(m.p50_ms), middle + _HIGH, "median")
    said = f"median {m.p50_ms:.3g} ms"
    if m.p95_ms is not None:
        marks += line(scale(m.p95_ms), middle - _HIGH + 4, scale(m.p95_ms), middle + _HIGH - 4, "p95")
        said += f", p95 {m.p95_ms:.3g}"
    label = text(LEFT, middle - 18, m.target, f"name {kind}")
    return label + text(WIDTH - RIGHT, middle - 18, said, "tick", "end") + blocks + marks


def pareto(points: Sequence[Point], quality: str) -> str:
    """Return quality against latency, with the area of a disc for the size; without a metric, size against latency.

    Args:
        points: the variants.
        quality: name of the metric, or empty.
    """
    rated = [p for p in points if p.quality is not None]
    shown = rated or list(points)
    left, top, bottom = 62.0, 34.0, 270.0
    ups = [_up(p) for p in shown]
    x = Scale.over([p.measurement.p50_ms for p in shown], left + 14, WIDTH - RIGHT - 14)
    y = _shares(ups, bottom - 12, top + 12) if rated else Scale.over(ups, bottom - 12, top + 12)
    largest = max(p.measurement.size_bytes for p in shown) or 1
    radii = [3 + 13 * (p.measurement.size_bytes / largest) ** 0.5 for p in shown]
    front = sorted((p.measurement.p50_ms, _up(p)) for p in shown if p.pareto)
    label = f"{quality}, %" if rated else "MB"
    body = bottom_axis(x, top, bottom, "median, milliseconds") + left_axis(y, left, WIDTH - RIGHT, label)
    if len(front) > 1:
        body += path([(x(a), y(b)) for a, b in front], "front")
    for point, up, radius in zip(shown, ups, radii, strict=True):
        kind = "best" if point.best else "member" if point.pareto else "other"
        body += (
            f'<circle cx="{x(point.measurement.p50_ms):.1f}" cy="{y(up):.1f}" r="{radius:.1f}" class="disc {kind}"/>'
        )
    body += _labels(shown, [(x(p.measurement.p50_ms), y(up)) for p, up in zip(shown, ups, strict=True)], radii)
    return plot(body, bottom + 40, "Quality, latency and size of the variants")


def _shares(values: list[float], start: float, stop: float) -> Scale:
    """Return a scale of percentages: at least one point wide, and never beyond 0 or 100."""
    room = max((max(values) - min(values)) * 0.06, 0.5)
    return Scale(low=max(min(values) - room, 0.0), high=min(max(values) + room, 100.0), start=start, stop=stop)


def _up(point: Point) -> float:
    return point.measurement.size_bytes / 1e6 if point.quality is None else point.quality * 100


def _labels(points: Sequence[Point], places: list[tuple[float, float]], radii: list[float]) -> str:
    rows = spread([y for _, y in places], 13)
    words = ""
    for point, (x, y), radius, row in zip(points, places, radii, rows, strict=True):
        said = f"{point.measurement.target} {point.measurement.size_bytes / 1e6:.3g} MB"
        right = x < WIDTH * 0.58
        edge = x + radius + 5 if right else x - radius - 5
        if abs(row - y) > 4:
            words += line(x + radius if right else x - radius, y, edge, row, "leader")
        kind = "name best" if point.best else "label"
        words += text(edge, row + 4, said, kind, "start" if right else "end")
    return words


def stages(points: Sequence[Point]) -> str:
    """Return where the time of a whole call goes: preprocessing, engine, postprocessing."""
    seen = [p.measurement for p in points if p.measurement.stages is not None]
    if not seen:
        return ""
    longest = max(m.stages.prepare_ms + m.stages.infer_ms + m.stages.answer_ms for m in seen if m.stages)
    scale = Scale.over([longest], LEFT, WIDTH - RIGHT, zero=True)
    bottom, body = 38 * len(seen) + 6, ""
    for index, m in enumerate(seen):
        if m.stages is None:
            continue
        place, y = 0.0, index * 38 + 21
        said = f"{m.stages.prepare_ms:.3g} + {m.stages.infer_ms:.3g} + {m.stages.answer_ms:.3g} ms"
        body += text(LEFT, y - 5, m.target, "name other") + text(WIDTH - RIGHT, y - 5, said, "tick", "end")
        parts = (("prepare", m.stages.prepare_ms), ("infer", m.stages.infer_ms), ("answer", m.stages.answer_ms))
        for kind, part in parts:
            body += bar(scale(place), y, scale(place + part) - scale(place), 14, f"stage {kind}")
            place += part
    return plot(bottom_axis(scale, 6, bottom, "milliseconds") + body, bottom + 40, "Stages of a call")


def throughput(measurements: Sequence[Measurement]) -> str:
    """Return samples a second by batch size, one line for each variant and number of threads; empty for one size."""
    series: dict[str, list[tuple[float, float]]] = {}
    several = len({m.threads for m in measurements}) > 1
    for m in sorted(measurements, key=lambda m: m.batch):
        name = f"{m.target}, {m.threads or 'auto'} threads" if several else m.target
        series.setdefault(name, []).append((float(m.batch), m.throughput_per_s))
    batches = sorted({m.batch for m in measurements})
    if len(batches) < 2:
        return ""
    left, top, bottom, right = 62.0, 34.0, 270.0, 330.0
    x = Scale(low=0, high=len(batches) - 1, start=left + 8, stop=right)
    y = Scale.over([value for row in series.values() for _, value in row], bottom - 6, top + 6)
    body = left_axis(y, left, right, "samples a second")
    body += "".join(text(x(i), bottom + 15, short(batch), "tick", "middle") for i, batch in enumerate(batches))
    body += text((left + right) / 2, bottom + 32, "samples in one call", "axis", "middle")
    ends = []
    for index, row in enumerate(series.values()):
        points = [(x(batches.index(int(batch))), y(value)) for batch, value in row]
        body += path(points, f"curve c{index % 8}")
        body += "".join(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" class="curve c{index % 8}"/>' for px, py in points)
        ends.append(points[-1])
    for index, (name, (px, py), row_y) in enumerate(zip(series, ends, spread([y for _, y in ends], 13), strict=True)):
        body += line(px, py, right + 12, row_y, "leader") + text(right + 15, row_y + 4, name, f"label t{index % 8}")
    return plot(body, bottom + 40, "Throughput by batch size")
