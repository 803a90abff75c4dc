"""What only a machine with an NVIDIA GPU can show: `pytest -m gpu tests/gpu`. Elsewhere these are left out.

A runtime that the machine lacks has no test: its parameters are made from what is installed, so that nothing is
skipped and everything that is listed runs.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests.contracts.small_program import SPEC, requests
from wherry.core.variant import Target
from wherry.export.request import ExportOutcome
from wherry.export.run import export_all
from wherry.export.targets import TARGETS, exporter_class
from wherry.jobs.child import run_in_child
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import EngineOptions

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
GPU = EngineOptions(device="gpu")


def onnxruntime_has_cuda() -> bool:
    if importlib.util.find_spec("onnxruntime") is None:
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def formats() -> list[Target]:
    """Targets whose engine runs on a GPU, as far as their tools are here."""
    found = [Target(format="pt2")]
    if onnxruntime_has_cuda():
        found += [Target(format="onnx")]
    if "aoti" in TARGETS and "device" in exporter_class("aoti").options:
        found += [Target(format="aoti", options={"device": "cuda"})]
    if importlib.util.find_spec("tensorrt") is not None:
        found += [Target(format="tensorrt", precision=precision) for precision in exporter_class("tensorrt").precisions]
    return found


def names(target: Target) -> str:
    return target.name


@pytest.fixture(scope="session")
def made(program: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportOutcome]:
    outcomes = export_all(
        requests(program, *formats()), cache=tmp_path_factory.mktemp("cache"), run=run_in_child, parallel=1
    )
    return {outcome.target.name: outcome for outcome in outcomes}


@pytest.mark.parametrize("target", formats(), ids=names)
def test_the_gpu_gives_what_the_cpu_gives(made: dict[str, ExportOutcome], target: Target, images, reference):
    outcome = made[target.name]
    assert outcome.error is None
    variant = outcome.variant
    assert variant is not None
    assert outcome.folder is not None
    with engine_class(variant.engine)(
        outcome.folder / variant.files[0].path, SPEC, batch=variant.batch, options=GPU
    ) as engine:
        found = engine.run({"image": images})["logits"]
        assert engine.info().device == "cuda:0"
        again = engine.run({"image": images})["logits"]
    tolerance = {"fp32": 2e-3, "fp16": 2e-2}.get(target.precision, 0.5)  # cuDNN may take TF32 for a convolution
    np.testing.assert_allclose(found, reference, atol=tolerance)
    np.testing.assert_allclose(again, found, atol=1e-6)


def test_torch_really_computed_on_the_gpu(program: Path, images):
    import torch

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()
    with engine_class("torch")(program, SPEC, options=GPU) as engine:
        engine.run({"image": images})
    assert torch.cuda.max_memory_allocated() > before


# A test of what is not installed is not defined: an empty list of parameters would be a skip.
if onnxruntime_has_cuda():

    def test_onnxruntime_says_which_provider_ran(made: dict[str, ExportOutcome], images):
        outcome = made["onnx-fp32"]
        assert outcome.folder is not None
        with engine_class("onnxruntime")(outcome.folder / "model.onnx", SPEC, options=GPU) as engine:
            engine.run({"image": images})
            assert engine.info().options["provider"] == "CUDAExecutionProvider"


if any(target.format == "tensorrt" for target in formats()):

    @pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
    def test_tensorrt_names_the_machine_that_its_engine_is_for(made: dict[str, ExportOutcome], precision: str):
        variant = made[f"tensorrt-{precision}"].variant
        assert variant is not None
        assert variant.files[0].path == "model.engine"
        assert {"tensorrt", "compute_cap", "driver_version"} <= set(variant.receipt.effective)
