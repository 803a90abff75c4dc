import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wherry.core.digest import FileRef, sha256_hex
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.core.variant import Receipt, Target, Variant
from wherry.proof.golden import GoldenSet
from wherry.proof.prove import Subject
from wherry.runtime import engines

sys.path.insert(0, str(Path(__file__).parent))
from linear_engine import write_linear

SPEC = ModelSpec(
    task="classification",
    inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 1, 4, 4)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),),
    preprocessing=Preprocessing(kind="image", color="L", scale=1 / 16),
    class_names=("a", "b", "c"),
)


@pytest.fixture(autouse=True)
def _linear(monkeypatch):
    monkeypatch.setitem(engines.ENGINES, "linear", "linear_engine:LinearEngine")


@pytest.fixture
def spec():
    return SPEC


@pytest.fixture
def weights():
    return np.random.default_rng(3).normal(size=(16, 3))


@pytest.fixture
def golden(weights):
    return make_golden(weights, 100, seed=1)


def make_golden(weights, samples, seed):
    raw = np.random.default_rng(seed).integers(0, 17, size=(samples, 4, 4), dtype=np.uint8)
    logits = (raw.reshape(samples, -1) / 16 @ weights).astype(np.float32)
    return GoldenSet(raw=raw, references={"logits": logits}, labels=logits.argmax(axis=1).astype(np.int64))


def make_variant(main: Path, precision="fp32", batch=None):
    receipt = Receipt(created_at="2026-01-01T00:00:00+00:00", source="0" * 64, tools={}, requested={}, effective={})
    return Variant(
        model="m",
        version=1,
        version_digest="1" * 64,
        target=Target(format="linear", precision=precision),
        engine="linear",
        files=(FileRef.of(main.name, main.read_bytes()),),
        batch=batch,
        receipt=receipt,
    )


@pytest.fixture
def subject(tmp_path, spec, weights, golden):
    """Return a function that makes a subject whose weights, behaviour or precision may be spoiled."""

    def make(change=None, behaviour="", precision="fp32", batch=None, **fields):
        main = write_linear(tmp_path / "model.npz", weights if change is None else change(weights), behaviour)
        whole = Subject(
            variant=make_variant(main, precision, batch),
            main=main,
            spec=spec,
            golden=golden,
            golden_sha256=sha256_hex(golden.to_bytes()),
        )
        return replace(whole, **fields)

    return make
