"""A publisher's training site and a device's trust folder, both empty."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bundle.publishers import Publisher


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path / "site")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "device" / "trust"


@pytest.fixture
def make_publisher(tmp_path: Path) -> Callable[..., Publisher]:
    return lambda name, **options: Publisher(tmp_path / name, **options)
