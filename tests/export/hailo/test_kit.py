"""Kits: what is in them, that their one command works, and that only the compiler's work is called a HEF."""

import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.export.hailo.conftest import NETWORKS, raw_examples
from wherry.core.errors import BadInputError, ExportError
from wherry.core.model import ModelSpec
from wherry.core.report import Verdict
from wherry.core.variant import Receipt, Target, Variant
from wherry.export.calibration import open_calibration
from wherry.export.child import file_ref
from wherry.export.hailo.compile import KitError, check, compile_kit, layer_of
from wherry.export.hailo.plan import normalization
from wherry.export.interface import Source
from wherry.export.targets import exporter_class
from wherry.proof.golden import GoldenSet
from wherry.proof.prove import Subject, prove
from wherry.runtime.preprocess import prepare

HAILO = Target(format="hailo", precision="int8")
EXPECTED = Path(__file__).parent / "expected"
EVERY = pytest.mark.parametrize("source", NETWORKS, indirect=True)
ALL_BUT_MASKS = pytest.mark.parametrize("source", ["detector", "classifier", "encoder"], indirect=True)
DETECTOR = pytest.mark.parametrize("source", ["detector"], indirect=True)
TEXTS = ("plan.json", "model.alls", "nms_config.json", "README.md", "Dockerfile")


def unpacked(source: Source, target: Target, folder: Path) -> Path:
    out = folder / "out"
    out.mkdir()
    written = exporter_class("hailo")().export(source, target, out)
    assert written.main == "model.zip"
    with zipfile.ZipFile(out / "model.zip") as archive:
        archive.extractall(folder / "kit")
    return folder / "kit"


@EVERY
def test_the_texts_of_a_kit_are_the_expected_ones(source: Source, tmp_path: Path):
    kit = unpacked(source, HAILO, tmp_path)
    expected = EXPECTED / source.model.split()[1]
    found = {name: (kit / name).read_text(encoding="utf-8") for name in TEXTS if (kit / name).is_file()}
    assert found == {path.name: path.read_text(encoding="utf-8") for path in expected.iterdir()}


@EVERY
def test_a_kit_is_complete_and_equal_each_time(source: Source, tmp_path: Path):
    kit = unpacked(source, HAILO, tmp_path)
    check(kit)
    listed = {line.partition("  ")[2] for line in (kit / "SHA256SUMS").read_text().splitlines()}
    assert listed | {"SHA256SUMS"} == {path.name for path in kit.iterdir()}
    assert not [name for name in listed if name.endswith(".hef")]
    (tmp_path / "again").mkdir()
    again = unpacked(source, HAILO, tmp_path / "again")
    assert (tmp_path / "out" / "model.zip").read_bytes() == (tmp_path / "again" / "out" / "model.zip").read_bytes()
    assert (again / "README.md").read_text() == (tmp_path / "out" / "README.md").read_text()


@ALL_BUT_MASKS
def test_the_calibration_set_is_what_the_chip_normalises_itself(source: Source, tmp_path: Path):
    kit = unpacked(source, HAILO, tmp_path)
    calib = np.load(kit / "calib.npy")
    raw = open_calibration(source.calibration).raw
    assert len(calib) == len(raw)
    mean, std = normalization(source.spec.preprocessing)
    tensor = source.spec.inputs[0]
    prepared = prepare(raw, changed(source.spec, ("batch", *tensor.shape[1:])))[tensor.name]
    normalised = (calib - np.array(mean)) / np.array(std)
    if source.spec.preprocessing.kind == "image":
        assert (calib.dtype, calib.shape[1:]) == (np.uint8, (32, 32, 3))
        np.testing.assert_allclose(np.moveaxis(normalised, -1, 1), prepared, atol=1e-5)
    else:
        assert (calib.dtype, calib.shape) == (np.float32, (2000, 1, 20, 9))
        np.testing.assert_allclose(normalised[:, 0], prepared, atol=1e-5)


@EVERY
def test_the_receipt_says_that_nothing_was_compiled(source: Source, tmp_path: Path):
    (tmp_path / "out").mkdir()
    written = exporter_class("hailo")().export(source, HAILO, tmp_path / "out")
    assert written.verified == "none"
    assert written.effective["toolchain"] == "absent"
    assert written.effective["hw_arch"] == "hailo8"
    assert "Hailo's compiler is not installed here, so the result is a kit for it." in written.overrides


@EVERY
def test_with_the_compiler_the_result_is_its_hef(source: Source, tmp_path: Path, sdk):
    sdk.CALLS.clear()
    exporter = exporter_class("hailo")
    assert exporter.kit(HAILO) is None
    assert "hailo_sdk_client" in exporter.tool_versions(HAILO)
    written = exporter().export(source, HAILO, tmp_path)
    name = source.model.replace(" ", "_")
    nms = source.model == "small detector"
    order = ["translate", f"save_har {name}.har", "load_model_script", "optimize", f"save_har {name}_optimized.har"]
    assert [*order, *([] if nms else ["infer"]), "compile"] == sdk.CALLS
    assert (tmp_path / "model.hef").read_bytes() == b"\x01HEF of the stand-in"
    assert written.main == "model.hef"
    lowered = [line for line in written.overrides if "Reducing optimization level to 0" in line]
    assert len(lowered) == (0 if source.model == "small encoder" else 1)
    assert written.verified == ("none" if nms else "emulator")
    assert all(cosine > 0.999 for cosine in written.effective["emulator_cosine"].values())


@DETECTOR
def test_options_reach_the_script(source: Source, tmp_path: Path):
    options = {"hw_arch": "hailo10h", "optimization_level": 4, "nms": True, "score": 0.1, "iou": 0.5, "max_boxes": 7}
    kit = unpacked(source, replace(HAILO, options=options), tmp_path)
    assert "optimization_level=4" in (kit / "model.alls").read_text()
    config = json.loads((kit / "nms_config.json").read_text())
    assert (config["nms_scores_th"], config["nms_iou_th"], config["max_proposals_per_class"]) == (0.1, 0.5, 7)
    plan = json.loads((kit / "plan.json").read_text())
    assert (plan["architecture"], plan["toolchain"]["compiler"]) == ("hailo10h", "5.2")


@DETECTOR
def test_a_kit_compiles_with_its_one_command(source: Source, tmp_path: Path):
    kit = unpacked(source, HAILO, tmp_path)
    command = [sys.executable, "compile.py"]
    fakes = str(Path(__file__).parent / "fake_sdk")
    done = subprocess.run(command, cwd=kit, env={"PYTHONPATH": fakes}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (kit / result["hef"]).is_file()
    assert result == json.loads((kit / "result.json").read_text())
    assert "optimize: started" in done.stderr
    assert not re.search(r"\{layer:", (kit / "model_resolved.alls").read_text())
    absent = subprocess.run(command, cwd=kit, capture_output=True, text=True, check=False)
    assert absent.returncode == 5
    assert "Hailo's Dataflow Compiler is not installed here" in absent.stderr
    (kit / "model.alls").write_text("changed")
    damaged = subprocess.run(command, cwd=kit, capture_output=True, text=True, check=False)
    assert damaged.returncode == 4
    assert "model.alls is not the file that was packed" in damaged.stderr
    (kit / "calib.npy").unlink()
    with pytest.raises(KitError, match=r"calib\.npy is missing"):
        compile_kit(kit, print)


def test_a_node_that_the_compiler_dropped_is_named():
    layers = {"n/output_layer1": {"type": "output_layer", "original_names": ["a"]}}
    with pytest.raises(KitError, match="no layer of the node 'a'"):
        layer_of("a", layers)
    layers |= {"n/act1": {"type": "act", "original_names": ["a"]}, "n/conv1": {"type": "conv", "original_names": ["a"]}}
    assert layer_of("a", layers) == "conv1"


@DETECTOR
def test_a_call_that_the_compiler_refuses_is_one_error(source: Source, tmp_path: Path, sdk, monkeypatch):
    def refuse(self):
        raise sdk.InvalidStateError("out of resources\nand much more")

    monkeypatch.setattr(sdk.ClientRunner, "compile", refuse)
    with pytest.raises(ExportError, match="out of resources") as caught:
        exporter_class("hailo")().export(source, HAILO, tmp_path)
    assert "\n" not in caught.value.message
    assert not (tmp_path / "model.hef").exists()


def changed(spec: ModelSpec, shape) -> ModelSpec:
    return replace(spec, inputs=(replace(spec.inputs[0], shape=shape),))


@pytest.mark.parametrize(
    ("options", "shape", "words"),
    [
        ({"hw_arch": "hailo9"}, None, "'hailo9' is no Hailo chip"),
        ({}, ("batch", 3, "height", 32), "axis 'height' of input 'images' is dynamic"),
        ({}, (4, 3, 32, 32), "fixed batch of 4"),
        ({}, ("batch", 3), "rank 3 or 4"),
        ({"nms": 1}, None, "bool is expected"),
    ],
)
@DETECTOR
def test_what_cannot_be_is_said_before_work_starts(source: Source, options, shape, words: str):
    spec = source.spec if shape is None else changed(source.spec, shape)
    assert words in (exporter_class("hailo").unsupported(replace(HAILO, options=options), spec) or "")


@pytest.mark.parametrize("source", ["classifier"], indirect=True)
def test_a_detector_without_a_head_is_refused(source: Source, tmp_path: Path):
    logits = replace(source.spec.outputs[0], shape=("batch", 3))
    spec = replace(source.spec, task="detection", outputs=(replace(logits), logits))
    with pytest.raises(BadInputError, match="has no last convolution"):
        exporter_class("hailo")().export(replace(source, spec=spec), HAILO, tmp_path)


@pytest.mark.parametrize("source", ["classifier"], indirect=True)
def test_a_kit_is_never_proven(source: Source, tmp_path: Path):
    (tmp_path / "out").mkdir()
    written = exporter_class("hailo")().export(source, HAILO, tmp_path / "out")
    variant = Variant(
        model="m",
        version=1,
        version_digest="a" * 64,
        target=HAILO,
        engine="hailo",
        files=(file_ref(tmp_path / "out", written.main),),
        batch=written.batch,
        receipt=Receipt(created_at="", source="", tools={}, requested={}, effective=written.effective),
    )
    logits = np.eye(3, dtype=np.float32)
    golden = GoldenSet(raw=raw_examples(source.spec, 3), references={"logits": logits})
    subject = Subject(
        variant=variant, main=tmp_path / "out" / written.main, spec=source.spec, golden=golden, golden_sha256="b" * 64
    )
    found = prove(subject, where="build")
    assert (found.report.verdict, found.proven) == (Verdict.LOAD_FAIL, None)
    assert found.report.reasons == ("The runtime hailo is not installed.",)
