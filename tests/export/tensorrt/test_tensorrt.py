"""TensorRT: the plan, the kit, and builder and engine against a stand-in that enforces the vendor's order of calls."""

import json
import subprocess
import sys
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.export.hailo import networks
from tests.export.hailo.conftest import raw_examples
from wherry.core.errors import BadInputError, EngineError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.core.variant import Target
from wherry.export.calibration import calibration_from_arrays
from wherry.export.interface import Source
from wherry.export.targets import exporter_class
from wherry.export.tensorrt.plan import Profile, Settings, plan
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import EngineOptions
from wherry.runtime.preprocess import prepare

GPU = EngineOptions(device="gpu")
SPEC = networks.classifier()[1]
RAW = raw_examples(SPEC, 11)
PRECISIONS = ("fp32", "fp16", "int8")
ORDER = ["Builder", "create_network", "OnnxParser", "parse", "create_builder_config", "create_optimization_profile"]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    onnx.save(onnx.version_converter.convert_version(networks.classifier()[0], 18), tmp_path / "parent.onnx")
    calibration_from_arrays(RAW, (), (), "random", tmp_path / "calibration.npz")
    return Source(
        model="small",
        version=1,
        spec=SPEC,
        program=tmp_path / "program.pt2",
        parent=tmp_path / "parent.onnx",
        calibration=tmp_path / "calibration.npz",
    )


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch):
    """The stand-ins of tensorrt, of cuda-python and of a machine with a driver."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "fake"))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    import tensorrt

    cuda, bindings = types.ModuleType("cuda"), types.ModuleType("cuda.bindings")
    cuda.__spec__ = types.SimpleNamespace()
    cuda.bindings, bindings.runtime = bindings, tensorrt.Cuda()
    monkeypatch.setitem(sys.modules, "cuda", cuda)
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    yield tensorrt
    assert bindings.runtime.taken == {}
    sys.modules.pop("tensorrt", None)


def test_plans_of_fixed_and_dynamic_axes():
    made = plan(SPEC, "fp16", Settings(best_batch=4, max_batch=16))
    assert made.profiles == (Profile(input="x", smallest=(1, 3, 32, 32), best=(4, 3, 32, 32), largest=(16, 3, 32, 32)),)
    assert (made.set_flags, made.clear_flags) == (("FP16",), ())
    assert made.command == (
        "trtexec --onnx=model.onnx --saveEngine=model.engine --timingCacheFile=timing.cache --fp16 "
        "--memPoolSize=workspace:2048M --minShapes=x:1x3x32x32 --optShapes=x:4x3x32x32 --maxShapes=x:16x3x32x32"
    )
    fixed = replace(SPEC, inputs=(TensorSpec(name="x", dtype="float32", shape=(2, 3, 32, 32)),))
    single = plan(fixed, "fp32", Settings())
    assert single.profiles == ()
    assert single.clear_flags == ("TF32",)
    assert "--noTF32" in single.command
    assert "Shapes" not in single.command
    loose = ModelSpec(
        task="t", inputs=(TensorSpec(name="x", dtype="float32", shape=("n", "time")),), outputs=SPEC.outputs
    )
    assert plan(loose, "int8", Settings(axes="time=10:20:30,n=2:4:6")).profiles[0].largest == (6, 30)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(best_batch=9, max_batch=8), "best batch of 9 is not between 1 and 8"),
        (Settings(axes="time=1"), "'time=1' is not a range"),
        (Settings(axes="time=5:4:9"), "does not grow"),
        (Settings(), "'time' of input 'x' is dynamic"),
    ],
)
def test_plans_that_are_refused(settings: Settings, words: str):
    loose = ModelSpec(
        task="t", inputs=(TensorSpec(name="x", dtype="float32", shape=("n", "time")),), outputs=SPEC.outputs
    )
    with pytest.raises(BadInputError, match=words):
        plan(loose, "fp32", settings)


def test_what_cannot_be_is_said_before_work_starts():
    loose = replace(SPEC, inputs=(TensorSpec(name="x", dtype="float32", shape=("n", 3, "height", 32)),))
    exporter = exporter_class("tensorrt")
    assert "'height' of input 'x' is dynamic" in (exporter.unsupported(Target(format="tensorrt"), loose) or "")
    given = Target(format="tensorrt", options={"axes": "height=32:64:128"})
    assert exporter.unsupported(given, loose) is None


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_kit_is_complete_and_its_command_builds(source: Source, tmp_path: Path, precision: str):
    (tmp_path / "out").mkdir()
    written = exporter_class("tensorrt")().export(
        source, Target(format="tensorrt", precision=precision), tmp_path / "out"
    )
    assert (written.main, written.verified, written.effective["toolchain"]) == ("model.zip", "none", "absent")
    assert written.overrides == ("TensorRT is not installed here, so the result is a kit that the device builds.",)
    kit = tmp_path / "kit"
    with zipfile.ZipFile(tmp_path / "out" / "model.zip") as archive:
        archive.extractall(kit)
    assert {path.name for path in kit.iterdir()} == {"model.onnx", "plan.json", "build.py", "README.md", "SHA256SUMS"}
    kinds = {node.op_type for node in onnx.load(kit / "model.onnx").graph.node}
    assert ("QuantizeLinear" in kinds) == (precision == "int8")
    command = [sys.executable, "build.py"]
    fake = {"PYTHONPATH": str(Path(__file__).parent / "fake")}
    done = subprocess.run(command, cwd=kit, env=fake, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tensorrt"] == "10.9.0"
    flags = json.loads((kit / "model.engine").read_text())["flags"]
    assert flags == {"fp32": [], "fp16": ["FP16", "TF32"], "int8": ["FP16", "INT8", "TF32"]}[precision]
    absent = subprocess.run(command, cwd=kit, capture_output=True, text=True, check=False)
    assert (absent.returncode, "TensorRT is not installed here" in absent.stderr) == (5, True)
    (kit / "plan.json").write_text("{}")
    damaged = subprocess.run(command, cwd=kit, capture_output=True, text=True, check=False)
    assert (damaged.returncode, "plan.json is not the file" in damaged.stderr) == (4, True)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_with_tensorrt_the_engine_is_built_and_answers(source: Source, tmp_path: Path, trt, precision: str):
    out = tmp_path / "out"
    out.mkdir()
    trt.CALLS.clear()
    target = Target(format="tensorrt", precision=precision, options={"max_batch": 4})
    assert exporter_class("tensorrt").kit(target) is None
    written = exporter_class("tensorrt")().export(source, target, out)
    assert [*ORDER, "build_serialized_network"] == trt.CALLS
    assert (written.main, written.effective["tensorrt"], written.overrides) == ("model.engine", "10.9.0", ())
    images = prepare(RAW, SPEC)
    session = onnxruntime.InferenceSession(str(source.parent), providers=["CPUExecutionProvider"])
    with engine_class("tensorrt")(out / "model.engine", SPEC, options=GPU) as engine:
        found = engine.run(images)["logits"]
        assert engine.info().options["largest_batch"] == 4
        assert engine.info().device == "cuda:0"
    wanted = session.run(None, images)[0]
    np.testing.assert_allclose(found, wanted, atol=0.05 if precision == "int8" else 1e-6)


def test_engines_that_do_not_fit_are_engine_errors(source: Source, tmp_path: Path, trt):
    engine = engine_class("tensorrt")
    (tmp_path / "model.zip").write_bytes(b"kit")
    with pytest.raises(EngineError, match=r"model\.zip is a kit"):
        engine(tmp_path / "model.zip", SPEC, options=GPU)
    (tmp_path / "other.engine").write_bytes(b"of another machine")
    with pytest.raises(EngineError, match="does not accept"):
        engine(tmp_path / "other.engine", SPEC, options=GPU)
    (tmp_path / "out").mkdir()
    exporter_class("tensorrt")().export(source, Target(format="tensorrt"), tmp_path / "out")
    renamed = replace(SPEC, inputs=(replace(SPEC.inputs[0], name="picture"),))
    with pytest.raises(EngineError, match="has the tensors"):
        engine(tmp_path / "out" / "model.engine", renamed, options=GPU)


def test_without_the_runtime_or_on_a_cpu_it_says_so():
    engine = engine_class("tensorrt")
    assert engine.unsupported("gpu") == "The runtime tensorrt is not installed."
    assert engine.devices == ("gpu",)


def test_a_network_that_tensorrt_cannot_read_is_named(source: Source, tmp_path: Path, trt):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff\xff garbage")
    with pytest.raises(BadInputError, match="TensorRT cannot read the network"):
        exporter_class("tensorrt")().export(replace(source, parent=broken), Target(format="tensorrt"), tmp_path)
