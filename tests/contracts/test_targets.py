"""The contract of the target family, over all members, with one small captured network."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.contracts.small_program import ALL, RAW, SPEC, VENDOR, requests
from wherry.core.codec import from_json, to_json
from wherry.core.model import ModelSpec, TensorSpec
from wherry.core.variant import PRECISIONS, Target, Variant
from wherry.export.cache import VARIANT_FILE
from wherry.export.child import file_ref
from wherry.export.listing import describe_targets
from wherry.export.request import ExportOutcome
from wherry.export.run import export_all
from wherry.export.targets import exporter_class
from wherry.jobs.child import run_in_child
from wherry.runtime.engines import engine_class
from wherry.runtime.preprocess import prepare

# The first test waits until every target is built, which takes long on a machine that has other work.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
NAMES = [target.name for target in ALL]
LEAST = {"fp16": 0.99999, "int8": 0.95, "int8-dynamic": 0.95, "int8-weights": 0.999}


@pytest.fixture(scope="session")
def reference(program: Path) -> np.ndarray:
    import torch

    with torch.inference_mode():
        found = torch.export.load(program).module()(torch.from_numpy(prepare(RAW, SPEC)["image"]))
    return found.numpy()


def made(outcomes: dict[str, ExportOutcome], name: str) -> tuple[Variant, Path]:
    outcome = outcomes[name]
    assert outcome.error is None
    assert outcome.variant is not None
    assert outcome.folder is not None
    return outcome.variant, outcome.folder


@pytest.mark.parametrize("name", NAMES)
def test_the_files_are_there_with_their_digests(outcomes: dict[str, ExportOutcome], name: str):
    variant, folder = made(outcomes, name)
    exporter = exporter_class(variant.target.format)
    assert variant.files[0].path == f"model{exporter.suffix}"
    assert [file_ref(folder, file.path) for file in variant.files] == list(variant.files)
    assert (variant.name, variant.engine, variant.version) == (name, exporter.engine, 2)
    stored = from_json((folder / VARIANT_FILE).read_bytes(), Variant, what="the variant", schema=1)
    assert stored == variant
    assert (folder / "export.log").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_gives_what_the_program_gives(outcomes: dict[str, ExportOutcome], name: str, reference: np.ndarray):
    variant, folder = made(outcomes, name)
    engine = engine_class(variant.engine)
    if engine.unsupported() is not None:
        assert (name.partition("-")[0], sys.platform == "darwin") == ("coreml", False)
        pytest.skip("needs macOS")
    with engine(folder / variant.files[0].path, SPEC, batch=variant.batch) as opened:
        logits = opened.run(prepare(RAW, SPEC))["logits"]
    if name == "null-fp32":
        assert logits.shape == reference.shape
        return
    cosine = float((logits * reference).sum() / np.linalg.norm(logits) / np.linalg.norm(reference))
    if variant.target.precision != "fp32":
        assert cosine > LEAST[variant.target.precision]
        assert not np.array_equal(logits, reference)
    else:
        np.testing.assert_allclose(logits, reference, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_receipt_is_complete(outcomes: dict[str, ExportOutcome], name: str, program: Path):
    variant, _ = made(outcomes, name)
    receipt, exporter = variant.receipt, exporter_class(variant.target.format)
    needs = exporter.needs(variant.target)
    start = file_ref(program.parent, program.name).sha256 if needs is None else made(outcomes, needs)[0].files[0].sha256
    assert receipt.source == start
    assert receipt.tools.items() >= exporter.tool_versions(variant.target).items()
    assert {"wherry", "python"} <= set(receipt.tools)
    assert receipt.requested == {"format": variant.target.format, "precision": variant.target.precision}
    assert receipt.seconds > 0
    assert receipt.host
    assert receipt.created_at.endswith("+00:00")
    assert receipt.verified == "none"
    assert (receipt.calibration is not None) == (variant.target.precision in exporter.calibrated)
    if variant.batch is not None:
        assert receipt.overrides
    if variant.engine != "null":
        assert receipt.effective["precision"] == variant.target.precision


def test_a_fixed_batch_is_in_the_receipt(outcomes: dict[str, ExportOutcome]):
    variant, _ = made(outcomes, "tflite-fp32")
    assert variant.batch == 1
    assert variant.receipt.overrides == ("The batch is fixed at 1, as TFLite files have fixed shapes.",)


def test_onnx_has_the_names_of_the_spec_and_the_model(outcomes: dict[str, ExportOutcome]):
    import onnx

    for name in (name for name in NAMES if name.startswith("onnx-")):
        variant, folder = made(outcomes, name)
        model = onnx.load(folder / variant.files[0].path)
        (image,), (logits,) = model.graph.input, model.graph.output
        assert (image.name, logits.name) == ("image", "logits")
        assert [axis.dim_param or axis.dim_value for axis in image.type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
        assert [axis.dim_param or axis.dim_value for axis in logits.type.tensor_type.shape.dim] == ["batch", 3]
        facts = {entry.key: entry.value for entry in model.metadata_props}
        assert facts.items() >= {"model_name": "shapes", "model_version": "v2", "target": name}.items()
    assert made(outcomes, "onnx-int8")[0].receipt.effective["calibration_method"] == "minmax"
    opsets = {
        entry.domain: entry.version for entry in onnx.load(made(outcomes, "onnx-fp32")[1] / "model.onnx").opset_import
    }
    assert made(outcomes, "onnx-fp32")[0].receipt.effective["opset"] == opsets[""]


def test_events_tell_the_story(outcomes: dict[str, ExportOutcome], export_events: list[tuple[str, str]]):
    assert set(outcomes) == set(NAMES)
    for name in NAMES:
        assert [state for other, state in export_events if other == name] == ["started", "done"]
    assert export_events.index(("onnx-fp32", "done")) < export_events.index(("openvino-fp32", "started"))


def test_nothing_is_done_twice_and_nothing_heavy_is_imported(
    outcomes: dict[str, ExportOutcome], program: Path, cache: Path, tmp_path: Path
):
    again = export_all(requests(program, *ALL), cache=cache, run=run_in_child)
    assert [outcome.reused for outcome in again] == [True] * len(ALL)
    assert [outcome.variant for outcome in again] == [outcomes[name].variant for name in NAMES]
    document = tmp_path / "requests.json"
    document.write_bytes(to_json(requests(program, *ALL)))
    code = (
        "import sys; from pathlib import Path; from wherry.core.codec import from_json\n"
        "from wherry.export.request import ExportRequest; from wherry.export.run import export_all\n"
        f"asked = from_json(Path({str(document)!r}).read_bytes(), list[ExportRequest], what='x')\n"
        f"found = export_all(asked, cache=Path({str(cache)!r}), run=None)\n"
        "assert all(outcome.reused for outcome in found)\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'onnxscript', 'litert_torch', 'ai_edge_litert', 'openvino', 'PIL',\n"
        "  'ai_edge_quantizer', 'executorch', 'coremltools', 'torchao'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("target", ALL, ids=NAMES)
def test_unsupported_is_said_before_work_starts(target: Target):
    exporter = exporter_class(target.format)
    assert exporter.unsupported(target, SPEC) is None
    lacks = next((name for name in PRECISIONS if name not in exporter.precisions), "int4")
    assert "no precision" in (exporter.unsupported(Target(format=target.format, precision=lacks), SPEC) or "")
    strange = Target(format=target.format, precision=target.precision, options={"colour": "red"})
    assert "no option 'colour'" in (exporter.unsupported(strange, SPEC) or "")


@pytest.mark.parametrize("name", ["tflite", "executorch", "coreml"])
def test_a_dynamic_axis_that_is_no_batch_does_not_fit_fixed_shapes(name: str):
    loose = ModelSpec(
        task="t", inputs=(TensorSpec(name="x", dtype="float32", shape=("n", "time")),), outputs=SPEC.outputs
    )
    reason = exporter_class(name).unsupported(Target(format=name), loose)
    assert reason == f"The format {name} has fixed shapes, and axis 'time' of input 'x' is dynamic."


def test_opsets(program: Path, cache: Path):
    onnx = exporter_class("onnx")
    assert "not between" in (onnx.unsupported(Target(format="onnx", options={"opset": 3}), SPEC) or "")
    assert "int is expected" in (onnx.unsupported(Target(format="onnx", options={"opset": "18"}), SPEC) or "")
    asked = [Target(format="onnx", precision=precision, options={"opset": 17}) for precision in ("fp32", "int8")]
    for outcome in export_all(requests(program, *asked), cache=cache, run=run_in_child):
        assert outcome.error is None
        assert outcome.variant is not None
        assert outcome.variant.receipt.effective["opset"] == 17
        assert outcome.variant.receipt.requested["opset"] == 17


def test_every_target_is_listed_and_can_be_made_here():
    rows = [row for row in describe_targets() if row.format not in VENDOR]
    assert [row.name for row in rows] == NAMES
    assert all(row.installed for row in rows)
    cannot = {row.format: row.reason for row in rows if row.reason is not None}
    assert set(cannot) <= ({"coreml"} if sys.platform != "darwin" else set())
    int8 = next(row for row in rows if row.name == "onnx-int8")
    assert (int8.needs, int8.calibrated, int8.engine, int8.extra) == ("onnx-fp32", True, "onnxruntime", "export-onnx")
