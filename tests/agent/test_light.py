"""The device program carries neither torch nor the training site, and starts light."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.world import Device
from wherry.agent import install

HEAVY = {
    "torch",
    "numpy",
    "tuf",
    "securesystemslib",
    "psutil",
    "cryptography",
    "onnxruntime",
    "openvino",
    "PIL",
    "rich",
}
TRAINING_SITE = {f"wherry.{room}" for room in ("registry", "export", "train", "checkpoint", "delivery")}


def loaded(code: str, root: Path) -> set[str]:
    script = f"import sys; from pathlib import Path; root = Path(sys.argv[1]); {code}; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)], check=True, capture_output=True, text=True, env=environment
    )
    return set(done.stdout.split())


@pytest.mark.usefixtures("in_process_proof")
def test_status_loads_nothing_heavy(device: Device, bundles: dict[int, Path]) -> None:
    device.init()
    install(device.root, bundles[1])
    found = loaded("from wherry.agent import status; assert status(root).version == 1", device.root)
    assert found & (HEAVY | TRAINING_SITE) == set()


def test_an_install_loads_neither_torch_nor_the_training_site(device: Device, bundles: dict[int, Path]) -> None:
    device.init()
    code = f"from wherry.agent import install; assert install(root, Path({str(bundles[1])!r})).outcome == 'installed'"
    found = loaded(code, device.root)
    assert found & ({"torch", "onnxruntime", "openvino"} | TRAINING_SITE) == set()
    assert "tuf" in found
