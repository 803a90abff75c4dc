"""Record a golden set: what the program answers, in fp32 on the CPU, to real examples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wherry.core.model import ModelSpec
from wherry.proof.golden import GoldenSet
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import Array
from wherry.runtime.preprocess import prepare

_CHUNK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Raw inputs as the camera or sensor gave them, with the truth where it is known; first axis is the sample."""

    raw: Array
    labels: NDArray[np.int64] | None = None


def record(program: Path, spec: ModelSpec, examples: Examples, *, engine: str = "torch") -> GoldenSet:
    """Run the program on the examples and keep its answers as references.

    Args:
        program: the captured program.
        spec: what it takes and gives.
        examples: at least two, or the set could not tell a constant from an answer.
        engine: member of the engine family that runs programs.

    Raises:
        BadInputError: the examples do not fit the spec, or there are none.
        EngineError: the program does not run on them.
    """
    with engine_class(engine)(program, spec) as opened:
        parts = [
            opened.run(prepare(examples.raw[start : start + _CHUNK], spec))
            for start in range(0, len(examples.raw), _CHUNK)
        ]
    references = {t.name: np.concatenate([part[t.name] for part in parts]) for t in spec.outputs} if parts else {}
    return GoldenSet(raw=examples.raw, references=references, labels=examples.labels)
