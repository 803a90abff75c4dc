"""A registry with one version whose program only the null target looks at: the road without torch."""

from dataclasses import replace

import numpy as np
import pytest

from wherry.core.digest import sha256_hex
from wherry.core.model import Lineage, ModelSpec, TensorSpec, VersionDraft
from wherry.proof.record import Examples, record
from wherry.registry import Registry
from wherry.runtime.interface import NULL_CONTENT

SPEC = ModelSpec(
    task="null",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 4)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 3)),),
)


def examples(seed, samples=40):
    raw = np.random.default_rng(seed).normal(size=(samples, 4)).astype(np.float32)
    return Examples(raw=raw, labels=np.arange(samples) % 3)


@pytest.fixture
def registry(tmp_path):
    with Registry.open(tmp_path / "registry") as opened:
        program = tmp_path / "program.null"
        program.write_bytes(NULL_CONTENT)
        golden = record(program, SPEC, examples(1), engine="null").to_bytes()
        evaluation = record(program, SPEC, examples(2, 90), engine="null").to_bytes()
        draft = VersionDraft(
            model="m",
            spec=SPEC,
            program=opened.put_file(program, "program.pt2"),
            checkpoint=(opened.put_bytes("weights.pt", b"weights"),),
            golden=opened.put_bytes("golden.npz", golden),
            evaluation=opened.put_bytes("evaluation.npz", evaluation),
            lineage=Lineage(timestamp="2026-01-01T00:00:00+00:00", training_images=1, new_images=1),
            metrics={},
            architecture=sha256_hex(b"a"),
            tools={},
        )
        opened.register(draft, who="test", why="first")
        worse = replace(draft, golden=opened.put_bytes("golden.npz", _other_answers(golden)))
        opened.register(worse, who="test", why="second")
        yield opened


def _other_answers(golden):
    from wherry.proof.golden import GoldenSet

    found = GoldenSet.from_bytes(golden)
    return replace(found, references={"y": found.references["y"] * 2}).to_bytes()
