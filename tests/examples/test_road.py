"""Each example goes down the road: trained for a few steps, registered by its README, exported and proven.

A network after three steps is no good, so nothing is asked of its quality; the page of real numbers is docs/results.md.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from tools import results
from tools.results_page import Network
from wherry.core.codec import from_json
from wherry.core.report import Verdict
from wherry.registry import Registry

pytestmark = pytest.mark.slow

# One network of each family; the others differ in weights and depth, and `make results` goes through all of them.
OUTPUTS = {
    "skin-efficientnet-b0": {"logits": ("batch", 10)},
    "fire-yolov8n-seg": {
        "boxes": ("batch", 4, 525),
        "scores": ("batch", 2, 525),
        "coefficients": ("batch", 32, 525),
        "prototypes": ("batch", 32, 40, 40),
    },
    "chess-alphazero": {"policy": ("batch", 4096), "value": ("batch", 1)},
    "shelf-unet-resnet34": {"logits": ("batch", 4, 96, 96)},
    "activity-encoder": {"embedding": ("batch", 64)},
}
FAMILIES = dict(
    zip(OUTPUTS, ("skin-classifier", "fire-detector", "chess", "shelf-segmentation", "activity-encoder"), strict=True)
)
TARGETS = ("pt2-fp32", "onnx-fp32")


@pytest.fixture(scope="session")
def travelled(tmp_path_factory):
    """Send a model down the road once, and return its folder and what came of it."""
    known = {}

    def travel(model):
        if model not in known:
            work = tmp_path_factory.mktemp(model)
            targets = [word for name in TARGETS for word in ("--target", name)]
            words = ["--quick", "--family", FAMILIES[model], "--model", model, "--work", str(work), "--seconds", "0"]
            assert results.main([*words, *targets, "--out", str(work / "results.md")]) == 0
            (network,) = from_json((work / "results.json").read_bytes(), list[Network], what="The results")
            known[model] = work, network
        return known[model]

    return travel


@pytest.mark.parametrize("model", OUTPUTS)
def test_it_is_trained_registered_exported_and_proven(model, travelled):
    work, network = travelled(model)
    with Registry.open(work / "registry") as registry:
        spec = registry.version(network.version).spec
    assert {tensor.name: tensor.shape for tensor in spec.outputs} == OUTPUTS[model]
    assert set(network.cells) == set(TARGETS)
    for cell in network.cells.values():
        # After a few steps a detector finds nothing and a classifier knows one class: agreeing on that is hollow.
        assert cell.passed or cell.report.verdict is Verdict.VACUOUS, cell.reason
        if cell.passed:
            assert [output.name for output in cell.report.outputs] == list(OUTPUTS[model])
            assert cell.report.quality is not None
    text = (work / "results.md").read_text(encoding="utf-8")
    assert f"## {model}" in text
    assert "the numbers mean nothing" in text


def test_the_encoder_in_onnx_gives_the_same_embeddings_on_zeros_walking_and_random_windows(travelled, monkeypatch):
    import onnxruntime
    import torch
    from safetensors.torch import load_file

    work, network = travelled("activity-encoder")
    folder = work / "activity-encoder"
    monkeypatch.syspath_prepend(str(folder))
    module, data = (_load(folder / name) for name in ("network.py", "data.py"))
    whole = module.tcn_vae()
    whole.load_state_dict(load_file(folder / "runs" / "tcn-vae" / "checkpoint.safetensors"))
    windows = data.make(64, seed=5)
    with Registry.open(work / "registry") as registry:
        version = registry.version(network.version)
        how = version.spec.preprocessing
        variant = registry.variant(version.model, version.number, "onnx-fp32")
        session = onnxruntime.InferenceSession(str(registry.materialize(variant.files, work / "onnx")))
    walking = windows.raw[windows.labels == data.ACTIVITIES.index("walking")][:16]
    patterns = {
        "zeros": np.zeros((16, 100, 9), np.float32),
        "walking": ((walking - np.array(how.mean)) / np.array(how.std)).astype(np.float32),
        "random": np.random.default_rng(5).normal(size=(16, 100, 9)).astype(np.float32),
    }
    for name, window in patterns.items():
        with torch.no_grad():
            expected = whole.encoder.eval()(torch.from_numpy(window)).numpy().astype(np.float64)
        (given,) = session.run(None, {"window": window})
        cosine = (given * expected).sum(1) / np.linalg.norm(given, axis=1) / np.linalg.norm(expected, axis=1)
        assert given.shape == (16, 64)
        assert f"{cosine.min():.6f}" == "1.000000", name


def _load(path: Path):
    """Import a file of an example under a name that no other example has."""
    name = f"travelled_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
