"""The report: everything in one file, nothing from outside, nothing that a name could break."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from wherry import delivery
from wherry.cli import main as cli
from wherry.core.errors import NotFoundError, StorageError
from wherry.core.report import Choice, EngineInfo, Measurement, Report, Stages, Verdict, WhyNot
from wherry.core.variant import Target
from wherry.delivery.page.drawing import Scale, spread
from wherry.delivery.page.page import Subject, render
from wherry.proof.compare import tolerance_for


def measurement(target, p50, **changes):
    made = Measurement(
        variant="d" * 64,
        target=target,
        machine="two cores",
        batch=1,
        samples=300,
        p50_ms=p50,
        p90_ms=p50 * 1.2,
        p95_ms=p50 * 1.4,
        p99_ms=None,
        mean_ms=p50,
        ci95_ms=(p50 * 0.9, p50 * 1.1),
        throughput_per_s=1e3 / p50,
        load_ms=12.0,
        memory_mb=80.0,
        size_bytes=4_000_000,
        engine=EngineInfo(engine="onnxruntime", version="1.31.1", device="cpu"),
        steady=True,
        at="2026-11-20T11:06:00+00:00",
        noise=0.03,
        latencies_ms=tuple(p50 * (0.8 + index / 100) for index in range(100)),
        peak_memory_mb=120.0,
        stages=Stages(prepare_ms=0.1, infer_ms=p50, answer_ms=0.2, end_to_end_ms=p50 + 0.3, calls=30),
        run="one",
    )
    return replace(made, **changes)


def report(target, accuracy):
    return Report(
        variant="d" * 64,
        target=target,
        golden="g",
        where="build",
        verdict=Verdict.PASS,
        reasons=(),
        samples=1,
        outputs=(),
        metrics={"agreement": 1.0, "accuracy": accuracy, "reference_accuracy": 0.9},
        tolerance=tolerance_for("fp32"),
        engine=None,
        not_covered=(),
        seconds=0.0,
        at="t",
        quality="accuracy",
    )


CHOICE = Choice(
    target="onnx-int8",
    reason="fastest proven variant",
    pareto=("onnx-int8", "onnx-fp32"),
    why_nots=(WhyNot(target="onnx-fp32", reason="2.00x the time of onnx-int8"),),
    measured=True,
)
PAIR = [measurement("onnx-int8", 1.0, size_bytes=1_000_000), measurement("onnx-fp32", 2.0)]
REPORTS = {"onnx-int8": report("onnx-int8", 0.89), "onnx-fp32": report("onnx-fp32", 0.90)}


class Parts(HTMLParser):
    """Tags, addresses and words of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.addresses, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]

    def handle_data(self, data):
        self.words.append(data)


def drawings(page):
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def test_one_file_without_a_request():
    page = render(Subject(name="m@v2", measurements=PAIR, reports=REPORTS, choice=CHOICE))
    parts = Parts(page)
    assert parts.addresses == []
    assert {"script", "link", "img", "iframe", "object"}.isdisjoint(parts.tags)
    assert "url(" not in page
    assert "@import" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_what_is_read_from_it():
    page = render(Subject(name="m@v2", measurements=PAIR, reports=REPORTS, choice=CHOICE))
    words = Parts(page).words
    assert "Use onnx-int8" in words
    assert "2.00x the time of onnx-int8" in words
    assert {"89.00%", "90.00%", "1.400", "120"} <= set(words)
    titles = [svg.find("title").text for svg in drawings(page)]
    assert titles == [
        "Distribution of latency for each variant",
        "Quality, latency and size of the variants",
        "Stages of a call",
    ]


def test_a_name_cannot_break_the_page():
    hostile = '<script>alert("x")</script>&'
    renamed = [replace(m, target=hostile, machine=hostile) for m in PAIR]
    choice = replace(CHOICE, target=hostile, reason=hostile)
    page = render(Subject(name=hostile, measurements=renamed, reports={hostile: REPORTS["onnx-int8"]}, choice=choice))
    assert "script" not in Parts(page).tags
    assert drawings(page)


def test_the_front_is_joined_and_a_sweep_has_its_plot():
    swept = [replace(m, batch=batch, run=str(batch)) for batch in (1, 4) for m in PAIR]
    page = render(Subject(name="m@v2", measurements=swept, reports=REPORTS, choice=CHOICE))
    assert 'class="front"' in page
    assert "Throughput by batch size" in page
    assert "Every setting" in page
    assert "Every setting" not in render(Subject(name="m", measurements=PAIR, reports={}))


def test_without_a_metric_size_stands_in_its_place():
    nothing = Choice(
        target=None, reason="no proven variant keeps to the constraints", pareto=(), why_nots=(), measured=True
    )
    unsteady = [replace(PAIR[0], steady=False, noise=None), replace(PAIR[1], void="it ran on the CPU")]
    page = render(Subject(name="m@v2", measurements=unsteady, reports={}, choice=nothing))
    words = " ".join(Parts(page).words)
    assert "Nothing fits." in words
    assert "size and speed" in words
    assert "no steady state was reached" in words
    assert "is void: it ran on the CPU" in words


def test_old_measurements_without_samples_are_shown():
    bare = [replace(m, latencies_ms=(), stages=None, peak_memory_mb=None, p95_ms=None) for m in PAIR]
    assert len(drawings(render(Subject(name="m@v2", measurements=bare, reports=REPORTS)))) == 1


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.02, 30.0], [5, 6], [0.0, 1000.0], [99.0, 4242.0]])
def test_scales_hold_their_values_and_have_round_ticks(values):
    scale = Scale.over(values, 10, 110)
    assert all(10 <= scale(value) <= 110 for value in values)
    assert 2 <= len(scale.ticks()) <= 8
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks())


def test_labels_keep_apart():
    placed = spread([50.0, 51.0, 49.0, 120.0], 13)
    ordered = sorted(placed)
    assert all(b - a >= 13 - 1e-9 for a, b in pairwise(ordered))
    assert placed[2] < placed[0] < placed[1] < placed[3]
    assert spread([], 13) == []


def test_the_verb_writes_it(registry, tmp_path, capsys):
    with pytest.raises(NotFoundError, match="was measured yet"):
        delivery.bench_page(registry, "m@v1")
    delivery.export(registry, "m@v1", [Target(format="null")])
    delivery.prove(registry, "m@v1")
    path = tmp_path / "report.html"
    words = [
        "bench",
        "m@v1",
        "--registry",
        str(registry.root),
        "--seconds",
        "0.05",
        "--batches",
        "1,2",
        "--threads",
        "1",
    ]
    assert cli.run([*words, "--html", str(path)]) == 0
    assert "a variant differs from itself" in capsys.readouterr().out
    assert "null-fp32" in path.read_text()
    assert "null-fp32" in delivery.bench_page(registry, "m@v1")
    with pytest.raises(StorageError):
        delivery.write_page(tmp_path, "page")
    assert cli.run([*words[:-1], "-1"]) == 2
