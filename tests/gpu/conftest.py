"""What the GPU's tests share: one small captured network, with fp32 answers of the CPU."""

from pathlib import Path

import numpy as np
import pytest

from tests.contracts.small_program import RAW, SPEC, capture
from wherry.runtime.engines import engine_class
from wherry.runtime.preprocess import prepare


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network as a `.pt2` file."""
    return capture(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Prepared inputs."""
    return prepare(RAW, SPEC)["image"]


@pytest.fixture(scope="session")
def reference(program: Path, images: np.ndarray) -> np.ndarray:
    """What the program gives on the CPU in fp32."""
    with engine_class("torch")(program, SPEC) as engine:
        return engine.run({"image": images})["logits"]
