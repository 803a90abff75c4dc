"""A registry with versions whose program only the null target looks at: the road without torch."""

from dataclasses import replace

import numpy as np

from wherry.core.digest import sha256_hex
from wherry.core.model import Lineage, ModelSpec, TensorSpec, VersionDraft
from wherry.proof.golden import GoldenSet
from wherry.proof.record import Examples, record
from wherry.runtime.interface import NULL_CONTENT

SPEC = ModelSpec(
    task="null",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 4)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 3)),),
)


def examples(seed, samples=40):
    raw = np.random.default_rng(seed).normal(size=(samples, 4)).astype(np.float32)
    return Examples(raw=raw, labels=np.arange(samples) % 3)


def fill(registry, folder):
    """Register m@v1, which the null target reproduces, and m@v2, which it does not."""
    program = folder / "program.null"
    program.write_bytes(NULL_CONTENT)
    golden = record(program, SPEC, examples(1), engine="null").to_bytes()
    evaluation = record(program, SPEC, examples(2, 90), engine="null").to_bytes()
    draft = VersionDraft(
        model="m",
        spec=SPEC,
        program=registry.put_file(program, "program.pt2"),
        checkpoint=(registry.put_bytes("weights.pt", b"weights"),),
        golden=registry.put_bytes("golden.npz", golden),
        evaluation=registry.put_bytes("evaluation.npz", evaluation),
        lineage=Lineage(timestamp="2026-01-01T00:00:00+00:00", training_images=1, new_images=1),
        metrics={},
        architecture=sha256_hex(b"a"),
        tools={},
    )
    registry.register(draft, who="test", why="first")
    worse = replace(draft, golden=registry.put_bytes("golden.npz", _other_answers(golden)))
    registry.register(worse, who="test", why="second")


def _other_answers(golden):
    found = GoldenSet.from_bytes(golden)
    return replace(found, references={"y": found.references["y"] * 2}).to_bytes()
