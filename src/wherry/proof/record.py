"""Record a golden set: what the program answers, in fp32 on the CPU, to real examples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec
from wherry.proof.chunks import chunk_size
from wherry.proof.golden import GoldenSet
from wherry.proof.tasks import task_metric
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import Array, Tensors
from wherry.runtime.preprocess import prepare

_PREPARED_SAMPLES = 4
_PREPARED_BYTES = 4 << 20  # prepared inputs travel to every device, so they are kept to what a rung needs


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Raw inputs as the camera or sensor gave them, with the truth where it is known; first axis is the sample."""

    raw: Array
    labels: Array | None = None
    """The truth in the form of the model's task, such as one class index for each sample."""
    class_names: tuple[str, ...] = ()
    """What the classes in `labels` are called, where the examples say so."""
    source: str = "arrays"
    """Where they come from, for the reader of a receipt."""


def record(program: Path, spec: ModelSpec, examples: Examples, *, engine: str = "torch") -> GoldenSet:
    """Run the program on the examples and keep its answers as references.

    Args:
        program: the captured program.
        spec: what it takes and gives.
        examples: at least two, or the set could not tell a constant from an answer.
        engine: member of the engine family that runs programs.

    Raises:
        BadInputError: the examples do not fit the spec, their labels do not fit its task, their classes have other
            names, or there are none.
        EngineError: the program does not run on them.
    """
    _check(spec, examples)
    return GoldenSet(
        raw=examples.raw,
        references=_answers(program, spec, examples.raw, engine) if len(examples.raw) else {},
        labels=examples.labels,
        prepared=_prepared(examples.raw, spec) if len(examples.raw) else {},
        class_names=spec.class_names,
    )


def _check(spec: ModelSpec, examples: Examples) -> None:
    if examples.class_names and spec.class_names and examples.class_names != spec.class_names:
        pairs = enumerate(zip(examples.class_names, spec.class_names, strict=False))
        index = next((i for i, (a, b) in pairs if a != b), min(len(examples.class_names), len(spec.class_names)))
        names = [what[index : index + 1] or ("nothing",) for what in (examples.class_names, spec.class_names)]
        msg = f"Class {index} is {names[0][0]!r} in the examples and {names[1][0]!r} in the model spec."
        raise BadInputError(msg, next_step="Bring the class names of the examples and of the model into one order.")
    reason = None if examples.labels is None else task_metric(spec.task).check_labels(examples.labels, spec)
    if reason is not None:
        msg = f"The examples do not fit the task {spec.task}: {reason}."
        raise BadInputError(msg, next_step="Mend the labels, or register without them.")


def _answers(program: Path, spec: ModelSpec, raw: Array, engine: str) -> Tensors:
    step = chunk_size(sum(array.nbytes for array in prepare(raw[:1], spec).values()))
    references: Tensors = {}
    with engine_class(engine)(program, spec) as opened:
        for start in range(0, len(raw), step):
            part = opened.run(prepare(raw[start : start + step], spec))
            for name, array in part.items():
                if name not in references:  # made whole at once: two copies of all answers may not fit into memory
                    references[name] = np.empty((len(raw), *array.shape[1:]), array.dtype)
                references[name][start : start + step] = array
    return references


def _prepared(raw: Array, spec: ModelSpec) -> Tensors:
    one = sum(array.nbytes for array in prepare(raw[:1], spec).values())
    return prepare(raw[: max(1, min(_PREPARED_SAMPLES, _PREPARED_BYTES // one))], spec)
