"""The page of results: what is empty has a reason, what failed is marked, and ratios are of the same format."""

from dataclasses import replace

from tools.results_page import Cell, Matrix, Network, page
from wherry.core.report import OutputError, Report, Tolerance, Verdict

REPORT = Report(
    variant="v",
    target="onnx-fp32",
    golden="g",
    where="build",
    verdict=Verdict.PASS,
    reasons=(),
    samples=10,
    outputs=(OutputError(name="y", max_abs=0.0, mean_abs=0.0, cosine=0.999999, snr_db=None),),
    metrics={"agreement": 0.99, "accuracy": 0.9, "reference_accuracy": 0.92},
    tolerance=Tolerance(min_cosine=0.99, max_abs=None, min_agreement=0.9, max_metric_drop=0.01),
    engine=None,
    not_covered=(),
    seconds=1.0,
    at="2026-01-01T00:00:00+00:00",
    quality="accuracy",
)
FULL = Cell(size=4_000_000, report=REPORT, p50_ms=8.0, p95_ms=9.0)
SMALL = Cell(size=1_000_000, report=REPORT, p50_ms=2.0, p95_ms=3.0, overrides=("The opset is 18 | at least.",))
BROKEN = Cell(
    size=1_000_000,
    report=replace(REPORT, verdict=Verdict.OUTPUT_MISMATCH, reasons=("it differs",)),
    reason="it differs",
)


def matrix(**cells):
    named = {name.replace("_", "-"): cell for name, cell in cells.items()}
    network = Network(
        family="chess", model="m", version="m@v1", task="classification", input="[N]", weights=5_000_000, cells=named
    )
    targets = ("onnx-fp32", "onnx-int8", "hailo-int8")
    return Matrix(date="2026-01-01", machine="a machine", tools={"torch": "2"}, targets=targets, networks=(network,))


def row(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_an_empty_cell_says_why():
    text = page(matrix(onnx_fp32=FULL, hailo_int8=Cell(reason="no compiler\nhere")))
    assert "- `hailo-int8`: not built: no compiler here" in text
    assert row(text, "| `hailo-int8` |") == ["| `hailo-int8` | - |"]


def test_a_failed_proof_is_marked_and_does_not_count():
    text = page(matrix(onnx_fp32=FULL, onnx_int8=BROKEN))
    assert row(text, "| `onnx-int8` |")[0] == "| `onnx-int8` | ✗ |"
    assert row(text, "| **proven** |") == ["| **proven** | 1 |"]
    assert "- `onnx-int8`: proof failed: it differs" in text
    assert "failed its proof" in row(text, "| m |")[0]


def test_ratios_are_against_fp32_of_the_same_format():
    text = page(matrix(onnx_fp32=FULL, onnx_int8=SMALL))
    assert row(text, "| m |") == ["| m | `onnx-int8` | 0.25 | 0.25 | -2.00 | 0.9900 |"]
    assert row(page(matrix(onnx_int8=SMALL)), "| m |") == []


def test_equal_numbers_give_an_equal_page_and_overrides_are_told():
    assert page(matrix(onnx_int8=SMALL)) == page(matrix(onnx_int8=SMALL))
    assert "- `onnx-int8`: The opset is 18 | at least." in page(matrix(onnx_int8=SMALL))


def test_what_runs_elsewhere_only_has_a_size_and_no_numbers():
    text = page(matrix(hailo_int8=Cell(size=2_500_000, reason="there is no such chip here")))
    assert row(text, "| `hailo-int8` |") == [
        "| `hailo-int8` | ○ |",
        "| `hailo-int8` | not here |  |  |  |  | 2.50 |  |  |  |",
    ]
    assert "- `hailo-int8`: built, but not proven here: there is no such chip here" in text


def test_one_reason_of_several_targets_is_told_once():
    text = page(matrix(onnx_fp32=Cell(reason="it is late"), onnx_int8=Cell(reason="it is late")))
    assert "- `onnx-fp32`, `onnx-int8`: not built: it is late" in text


def test_a_later_run_keeps_what_it_did_not_make():
    (before,) = matrix(onnx_fp32=FULL).networks
    (after,) = matrix(onnx_int8=SMALL).networks
    both = after.over(replace(before, load=3.0))
    assert both.cells == {"onnx-fp32": FULL, "onnx-int8": SMALL}
    assert both.load == 3.0
    assert replace(after, load=1.0).over(before).load == 1.0
    assert replace(after, version="m@v2").over(before).cells == {"onnx-int8": SMALL}
