"""One request for each small network, and the stand-in of Hailo's compiler."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.export.hailo import networks
from wherry.core.model import ModelSpec
from wherry.export.calibration import calibration_from_arrays
from wherry.export.interface import Source

NETWORKS = {
    "detector": lambda: networks.detector(3),
    "masks": lambda: networks.detector(3, masks=2),
    "classifier": networks.classifier,
    "encoder": networks.encoder,
}


def raw_examples(spec: ModelSpec, count: int) -> np.ndarray:
    dice = np.random.default_rng(5)
    if spec.preprocessing.kind == "image":
        return dice.integers(0, 256, (count, 40, 30, 3), dtype=np.uint8)
    return dice.normal(5, 3, (count, *spec.inputs[0].shape[1:])).astype(np.float32)


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """The network that the test names, as the parent of a target."""
    model, spec = NETWORKS[request.param]()
    onnx.save(model, tmp_path / "parent.onnx")
    raw = raw_examples(spec, 2000 if request.param == "encoder" else 12)
    calibration_from_arrays(raw, (), (), "random", tmp_path / "calibration.npz")
    return Source(
        model=f"small {request.param}",
        version=1,
        spec=spec,
        program=tmp_path / "program.pt2",
        parent=tmp_path / "parent.onnx",
        calibration=tmp_path / "calibration.npz",
    )


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch):
    """The stand-in, importable as the real one is."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "fake_sdk"))
    monkeypatch.delitem(sys.modules, "hailo_sdk_client", raising=False)
    import hailo_sdk_client

    yield hailo_sdk_client
    sys.modules.pop("hailo_sdk_client", None)
