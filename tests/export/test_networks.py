"""What converters stumble over, converted for real and compared with the program; one process, one import of each."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from wherry.core.variant import Target
from wherry.export.calibration import calibration_from_arrays
from wherry.export.interface import Source, Written
from wherry.export.targets import exporter_class
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import EngineOptions, Tensors
from wherry.runtime.program import open_program

pytestmark = pytest.mark.slow
NAMES = ["squeeze-excite", "causal", "resized", "resized-aligned", "detector"]
EXACT = ["pytorch", "torchscript", "tflite", "executorch"]
ROUGH = ["tflite-fp16", "tflite-int8", "tflite-int8-dynamic", "executorch-int8", "executorch-int8-dynamic"]


def numbers(name: str, count: int) -> np.ndarray:
    from tests.export.networks import spec_of

    return np.random.default_rng(count).standard_normal((count, *spec_of(name).inputs[0].shape[1:]), np.float32)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tests.export.networks import capture

    folder = tmp_path_factory.mktemp("programs")
    return {name: capture(name, folder) for name in NAMES}


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Variants of float32 that others start from, as they are made."""
    return {}


@pytest.fixture
def sources(programs: dict[str, Path], parents: dict[str, Path], tmp_path: Path):
    from tests.export.networks import spec_of

    def source(name: str) -> Source:
        calibration = tmp_path / "calibration.npz"
        calibration_from_arrays(numbers(name, 40), [], [], "random numbers", calibration)
        return Source(
            model="m",
            version=1,
            spec=spec_of(name),
            program=programs[name],
            calibration=calibration,
            parent=parents.get(name),
        )

    return source


def answer(target: Target, written: Written, out: Path, source: Source, data: np.ndarray) -> Tensors:
    engine = engine_class(exporter_class(target.format).engine)
    with engine(out / written.main, source.spec, batch=written.batch, options=EngineOptions(threads=1)) as opened:
        return opened.run({"data": data})


def expected(source: Source, data: np.ndarray) -> Tensors:
    import torch

    with torch.inference_mode():
        found = open_program(source.program).module()(torch.from_numpy(data))
    parts = found if isinstance(found, tuple) else (found,)
    return {tensor.name: part.numpy() for tensor, part in zip(source.spec.outputs, parts, strict=True)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("format_", EXACT)
def test_float32_is_the_program(name: str, format_: str, sources, parents: dict[str, Path], tmp_path_factory):
    out = tmp_path_factory.mktemp("variant")
    source, target, data = sources(name), Target(format=format_), numbers(name, 3)
    written = exporter_class(format_)().export(source, target, out)
    if format_ == "tflite":
        parents[name] = out / written.main
    found, wanted = answer(target, written, out, source, data), expected(source, data)
    assert list(found) == list(wanted)
    for key, array in wanted.items():
        np.testing.assert_allclose(found[key], array, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["squeeze-excite", "causal", "detector"])
@pytest.mark.parametrize("text", ROUGH)
def test_smaller_precisions_stay_near_it(name: str, text: str, sources, parents: dict[str, Path], tmp_path: Path):
    target, source, data = Target.parse(text), sources(name), numbers(name, 8)
    out = tmp_path / "out"
    out.mkdir()
    if target.format == "tflite" and source.parent is None:
        exporter_class("tflite")().export(source, Target(format="tflite"), tmp_path)
        parents[name] = tmp_path / "model.tflite"
        source = sources(name)
    written = exporter_class(target.format)().export(source, target, out)
    found, wanted = answer(target, written, out, source, data), expected(source, data)
    for key, array in wanted.items():
        cosine = float((found[key] * array).sum() / np.linalg.norm(found[key]) / np.linalg.norm(array))
        assert cosine > (0.99999 if target.precision == "fp16" else 0.995), key
        assert not np.array_equal(found[key], array)


def test_executorch_names_what_the_delegate_leaves(sources, tmp_path: Path):
    written = exporter_class("executorch")().export(sources("causal"), Target(format="executorch"), tmp_path)
    operators = written.effective["operators"]
    # The weight norm is computed once and for all, so the convolution is the delegate's; a slice is not.
    assert operators["XNNPACK"] > operators["portable"] > 0
    assert not any("conv" in name or "norm" in name for name in written.effective["portable"])
    assert all(re.fullmatch(r"[\w.]+", name) for name in written.effective["portable"])
    assert any("portable kernels" in sentence for sentence in written.overrides)


def test_quantized_inputs_and_outputs_are_the_engines_business(sources, tmp_path: Path):
    exporter = exporter_class("tflite")()
    exporter.export(sources("detector"), Target(format="tflite"), tmp_path)
    source = Source(**{**vars_of(sources("detector")), "parent": tmp_path / "model.tflite"})
    data, wanted = numbers("detector", 4), expected(source, numbers("detector", 4))
    for quantized in (True, False):
        out = tmp_path / str(quantized)
        out.mkdir()
        target = Target(format="tflite", precision="int8", options={"quantized_io": quantized})
        written = exporter.export(source, target, out)
        engine = engine_class("litert")
        with engine(out / written.main, source.spec, batch=1) as opened:
            found, options = opened.run({"data": data}), opened.info().options
        assert options.get("quantized", []) == (["boxes", "data", "scores"] if quantized else [])
        for key, array in wanted.items():
            assert found[key].dtype == np.float32
            assert np.abs(found[key] - array).max() < 0.05 * np.ptp(array), key


def vars_of(source: Source) -> dict:
    return {name: getattr(source, name) for name in source.__dataclass_fields__}


def test_a_batch_can_be_chosen(sources, tmp_path: Path):
    source, target = sources("detector"), Target(format="executorch", options={"batch": 4})
    written = exporter_class("executorch")().export(source, target, tmp_path)
    assert (written.batch, [text for text in written.overrides if "batch" in text]) == (4, [])
    data = numbers("detector", 6)
    found = answer(target, written, tmp_path, source, data)
    np.testing.assert_allclose(found["boxes"], expected(source, data)["boxes"], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["squeeze-excite", "resized-aligned", "detector"])
def test_coreml_has_the_names_and_types_of_the_spec(name: str, sources, tmp_path: Path):
    import coremltools

    source = sources(name)
    written = exporter_class("coreml")().export(source, Target(format="coreml", precision="fp16"), tmp_path)
    package = (tmp_path / written.main).parent
    assert sorted(path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()) == [
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
        "Manifest.json",
    ]
    described = coremltools.models.MLModel(str(package), skip_model_load=True).get_spec().description
    assert [entry.name for entry in described.input] == ["data"]
    assert [entry.name for entry in described.output] == [tensor.name for tensor in source.spec.outputs]
    kinds = {entry.type.multiArrayType.dataType for entry in (*described.input, *described.output)}
    assert kinds == {65568}  # FLOAT32, https://apple.github.io/coremltools/mlmodel/Format/FeatureTypes.html
    if sys.platform == "darwin":
        found = answer(Target(format="coreml"), written, tmp_path, source, numbers(name, 2))
        for key, array in expected(source, numbers(name, 2)).items():
            np.testing.assert_allclose(found[key], array, rtol=0.02, atol=0.02)
