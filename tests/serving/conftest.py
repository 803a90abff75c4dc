from collections.abc import Iterator

import pytest

from tests.serving.affine import affine_model, echo_model, register
from wherry.runtime.engines import ENGINES
from wherry.serving.server import BackgroundServer


@pytest.fixture(autouse=True, scope="session")
def _engines() -> Iterator[None]:
    before = dict(ENGINES)
    register()
    yield
    ENGINES.clear()
    ENGINES.update(before)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackgroundServer]:
    """Two versions of one model, a fixed batch size, and echoes of several types."""
    folder = tmp_path_factory.mktemp("served")
    models = [
        affine_model(folder, version=1, seed=1),
        affine_model(folder, version=2, seed=2),
        affine_model(folder, name="fixed", batch=4, seed=3),
        echo_model(folder, "text", "object"),
        echo_model(folder, "half", "float16"),
        echo_model(folder, "float", "float32"),
        echo_model(folder, "open", "int32", "batch", "length"),
        echo_model(folder, "whole", "uint8", 1, 3),
    ]
    with BackgroundServer(models, max_body=1_000_000) as running:
        yield running


@pytest.fixture
def address(server: BackgroundServer) -> str:
    """Host and port, as tritonclient wants them."""
    return server.url.removeprefix("http://")
