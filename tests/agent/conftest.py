"""Bundles are built once for all tests; devices are fresh."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.world import Device, Made, Publisher, weights
from wherry.agent import install
from wherry.jobs import child
from wherry.jobs.worker import find_function


@pytest.fixture
def in_process_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the same proof without a process of its own, which costs a second; `test_kill.py` runs it as it ships."""

    def run_here(function: str, spec: object, result: type, **limits: object) -> object:
        return find_function(function)[0](spec)

    monkeypatch.setattr(child, "run_in_child", run_here)


@pytest.fixture(scope="session")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def bundles(publisher: Publisher) -> dict[int, Path]:
    """Good releases 1 to 9, each with its own weights."""
    return {release: publisher.bundle(release) for release in range(1, 10)}


@pytest.fixture
def device(tmp_path: Path, publisher: Publisher) -> Device:
    return Device(tmp_path / "device", publisher)


@pytest.fixture
def installed(device: Device, bundles: dict[int, Path], in_process_proof: None) -> Device:
    """A device on release 1, with a health hook."""
    device.init(health=True)
    install(device.root, bundles[1])
    return device


@pytest.fixture
def make_device(tmp_path: Path, publisher: Publisher) -> Callable[[str], Device]:
    return lambda name: Device(tmp_path / name, publisher)


@pytest.fixture(scope="session")
def openvino_like(publisher: Publisher, bundles: dict[int, Path]) -> Path:
    """Release 20: another extension, a twin that goes by the main file's stem, and a companion with its own name."""
    files = {"model.xml": weights(20), "model.bin": b"twin" * 50, "parts/table.dat": b"companion" * 20}
    return publisher.bundle(20, Made(target="openvino-fp32", files=files))
