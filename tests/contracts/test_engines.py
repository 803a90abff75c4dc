"""The contract of the engine family, over all members, with variants that the target family made."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.contracts.small_program import ALL, RAW, SPEC, VENDOR
from wherry.core.errors import BadInputError, EngineError, NotFoundError, ToolchainMissingError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.core.variant import Variant
from wherry.export.request import ExportOutcome
from wherry.export.targets import exporter_class
from wherry.runtime.engines import ENGINES, engine_class
from wherry.runtime.interface import Engine, EngineOptions
from wherry.runtime.litert_names import by_position
from wherry.runtime.preprocess import prepare

pytestmark = pytest.mark.timeout(1800)  # the first test waits until every target is built
FORMATS = {exporter_class(target.format).engine: target.name for target in reversed(ALL)}
HERE = [name for name in ENGINES if name not in VENDOR]
NEEDS_A_MAC = pytest.mark.skipif(sys.platform != "darwin", reason="needs macOS")
IMPORTS_TORCH = {"torch", "torchscript", "aoti", "executorch"}


def every(*, without: str = "", slow: frozenset[str] = frozenset()):
    """Return a mark for a test of every engine that this platform can run."""
    marks = {name: [pytest.mark.slow] for name in slow} | {"coreml": [NEEDS_A_MAC]}
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=marks.get(name, [])) for name in HERE if name != without]
    )


EVERY = every()
EVERY_REAL = every(without="null")  # null follows any spec
EVERY_THAT_LOADS = every(slow=frozenset(IMPORTS_TORCH))
IMAGES = prepare(RAW, SPEC)["image"]


@pytest.fixture
def variant(outcomes: dict[str, ExportOutcome], name: str) -> tuple[Variant, Path]:
    outcome = outcomes[FORMATS[name]]
    assert outcome.variant is not None
    assert outcome.folder is not None
    return outcome.variant, outcome.folder / outcome.variant.files[0].path


@pytest.fixture
def opened(variant: tuple[Variant, Path], name: str):
    document, main = variant
    with engine_class(name)(main, SPEC, batch=document.batch, options=EngineOptions(threads=1)) as engine:
        yield engine


def test_listing_and_looking_up_import_nothing_heavy():
    code = (
        "import sys; from wherry.runtime.engines import ENGINES, engine_class\n"
        "for name in ENGINES: engine_class(name).version(); engine_class(name).unsupported()\n"
        "heavy = {'torch', 'onnxruntime', 'ai_edge_litert', 'openvino', 'PIL', 'tensorflow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.skipif(sys.platform == "darwin", reason="needs something else than macOS")
def test_coreml_says_where_it_runs(tmp_path: Path):
    with pytest.raises(ToolchainMissingError, match="CoreML runs on macOS only"):
        engine_class("coreml")(tmp_path / "model.mlpackage" / "Manifest.json", SPEC)


def test_an_unknown_engine_is_refused():
    with pytest.raises(NotFoundError, match="no engine 'abacus'") as caught:
        engine_class("abacus")
    assert "onnxruntime" in caught.value.next_step


@EVERY
def test_the_class_says_what_it_is(name: str):
    engine = engine_class(name)
    assert engine.name == name
    assert engine.version() not in (None, "unknown")
    assert "cpu" in engine.devices
    assert engine.unsupported() is None
    assert ("pip install" in engine.install_hint()) == (name != "null")


def test_a_runtime_that_is_absent_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    engine = engine_class("onnxruntime")
    monkeypatch.setattr(engine, "module", "a_runtime_that_is_not_there")
    assert engine.version() is None
    with pytest.raises(ToolchainMissingError) as caught:
        engine(tmp_path / "x.onnx", SPEC)
    assert "pip install 'wherry[onnxruntime]'" in caught.value.next_step


@EVERY_THAT_LOADS
@pytest.mark.parametrize("device", ["gpu", "mps"])
def test_a_device_that_is_absent_is_refused_before_the_file_is_opened(name: str, device, tmp_path: Path):
    engine = engine_class(name)
    reason = engine.unsupported(device)
    if reason is None:
        pytest.skip(f"this machine has {device}")
    with pytest.raises(ToolchainMissingError) as caught:
        engine(tmp_path / "absent", SPEC, options=EngineOptions(device=device))
    assert caught.value.message == reason


@EVERY
def test_a_missing_file_is_an_engine_error(name: str, tmp_path: Path):
    with pytest.raises(EngineError, match="does not exist"):
        engine_class(name)(tmp_path / "absent.xyz", SPEC)


@EVERY_THAT_LOADS
@pytest.mark.parametrize("content", [b"", b"garbage " * 100], ids=["empty", "garbage"])
def test_a_garbage_file_is_an_engine_error(name: str, content: bytes, tmp_path: Path):
    path = tmp_path / f"model{exporter_class(FORMATS[name].partition('-')[0]).suffix}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(EngineError) as caught:
        engine_class(name)(path, SPEC)
    assert "\n" not in caught.value.message


@pytest.mark.slow
class TestOpened:
    """What every opened engine promises."""

    @EVERY
    def test_info(self, opened: Engine, name: str):
        info = opened.info()
        assert (info.engine, info.version, info.device) == (name, engine_class(name).version(), "cpu")
        assert info.options["threads"] == 1

    @EVERY
    def test_two_runs_give_the_same(self, opened: Engine):
        first, second = opened.run({"image": IMAGES}), opened.run({"image": IMAGES})
        assert np.array_equal(first["logits"], second["logits"])
        assert first["logits"].dtype == np.float32
        assert first["logits"].shape == (len(IMAGES), 3)

    @EVERY
    def test_batches_agree_row_by_row(self, opened: Engine):
        together = opened.run({"image": IMAGES[:5]})["logits"]
        alone = np.concatenate([opened.run({"image": IMAGES[row : row + 1]})["logits"] for row in range(5)])
        np.testing.assert_allclose(together, alone, atol=1e-5)
        assert len(np.unique(together, axis=0)) == 5

    @EVERY
    def test_outputs_are_the_callers_own(self, opened: Engine):
        first = opened.run({"image": IMAGES[:2]})["logits"]
        kept = first.copy()
        opened.run({"image": IMAGES[2:4]})
        assert np.array_equal(first, kept)

    @EVERY
    def test_inputs_that_are_not_contiguous_or_read_only_are_fine(self, opened: Engine):
        expected = opened.run({"image": IMAGES[::-2]})["logits"]
        frozen = np.ascontiguousarray(IMAGES[::-2])
        frozen.flags.writeable = False
        np.testing.assert_allclose(opened.run({"image": frozen})["logits"], expected, atol=1e-6)

    @EVERY
    @pytest.mark.parametrize(
        ("inputs", "words"),
        [
            ({"image": IMAGES.astype(np.float64)}, "nothing is cast silently"),
            ({"image": IMAGES[:, :, :4]}, "has shape"),
            ({"image": IMAGES[0]}, "has shape"),
            ({"picture": IMAGES}, r"named \['picture'\]"),
            ({}, "named"),
            ({"image": IMAGES[:0]}, "batch is empty"),
        ],
        ids=["dtype", "shape", "rank", "name", "nothing", "empty"],
    )
    def test_inputs_that_do_not_fit_are_refused(self, opened: Engine, inputs, words: str):
        with pytest.raises(BadInputError, match=words):
            opened.run(inputs)

    @EVERY
    def test_closing_frees_and_a_closed_engine_does_not_answer(self, opened: Engine, name: str):
        opened.close()
        opened.close()
        if name != "null":
            with pytest.raises(EngineError):
                opened.run({"image": IMAGES})

    @EVERY_REAL
    def test_a_spec_that_contradicts_the_file_is_an_engine_error(self, variant: tuple[Variant, Path], name: str):
        document, main = variant
        extra = TensorSpec(name="more", dtype="float32", shape=("batch", 3))
        twice = ModelSpec(task="t", inputs=SPEC.inputs, outputs=(*SPEC.outputs, extra))
        wider = ModelSpec(
            task="t", inputs=SPEC.inputs, outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 4)),)
        )
        for spec in (twice, wider):
            with pytest.raises(EngineError), engine_class(name)(main, spec, batch=document.batch) as engine:
                engine.run({"image": IMAGES[:1]})

    @EVERY
    def test_threads_that_are_left_to_the_runtime(self, variant: tuple[Variant, Path], name: str):
        document, main = variant
        with engine_class(name)(main, SPEC, batch=document.batch) as engine:
            assert np.isfinite(engine.run({"image": IMAGES})["logits"]).all()
            assert not math.isnan(float(engine.info().options["threads"]))


@pytest.mark.slow
def test_every_engine_has_a_target():
    # Other tests put engines of their own into the table while they run.
    assert set(FORMATS) == {name for name, home in ENGINES.items() if name in HERE and home.startswith("wherry.")}


@pytest.mark.slow
def test_openvino_computes_in_single_precision_and_calls_nobody(outcomes: dict[str, ExportOutcome]):
    folder = outcomes["openvino-fp32"].folder
    code = (
        "import sys; from pathlib import Path; from tests.contracts.small_program import SPEC\n"
        "from wherry.runtime.engines import engine_class\n"
        f"engine = engine_class('openvino')(Path({str(folder)!r}) / 'model.xml', SPEC)\n"
        "print(engine.info().options['inference_precision_hint'], sys.modules.get('openvino_telemetry'))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["f32", "None"]


@pytest.mark.slow
def test_openvino_without_its_weights_is_an_engine_error(outcomes: dict[str, ExportOutcome], tmp_path: Path):
    folder = outcomes["openvino-fp32"].folder
    assert folder is not None
    (tmp_path / "model.xml").write_bytes((folder / "model.xml").read_bytes())
    with pytest.raises(EngineError):
        engine_class("openvino")(tmp_path / "model.xml", SPEC)


@pytest.mark.slow
def test_onnxruntime_does_not_fall_back_to_the_cpu(outcomes: dict[str, ExportOutcome], monkeypatch: pytest.MonkeyPatch):
    engine, folder = engine_class("onnxruntime"), outcomes["onnx-fp32"].folder
    assert folder is not None
    if engine.unsupported("gpu") is None:
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(engine, "_unavailable", classmethod(lambda cls, device: None))
    with pytest.raises(EngineError, match="did not start CUDAExecutionProvider"):
        engine(folder / "model.onnx", SPEC, options=EngineOptions(device="gpu"))


def test_litert_keeps_the_order_of_many_arguments():
    inside = [f"args_{index}" for index in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9)]
    names = [f"x{index}" for index in range(11)]
    assert by_position(names, inside, "inputs") == {f"x{index}": f"args_{index}" for index in range(11)}
    assert by_position(["b", "a"], ["a", "b"], "inputs") == {"a": "a", "b": "b"}
    with pytest.raises(EngineError, match="has 2 inputs, the spec names 1"):
        by_position(["a"], ["a", "b"], "inputs")
