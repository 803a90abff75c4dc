import pytest

from tests.null_road import fill
from wherry.registry import Registry


@pytest.fixture
def registry(tmp_path):
    with Registry.open(tmp_path / "registry") as opened:
        fill(opened, tmp_path)
        yield opened
