"""Where the time of one call goes: preprocessing, the engine, postprocessing, and the whole (contract row P5)."""

import time

import numpy as np

from wherry.core.model import ModelSpec
from wherry.core.report import Stages
from wherry.runtime.interface import Array, Engine
from wherry.runtime.preprocess import prepare
from wherry.runtime.results import answers

_MOST = 30
_LEAST = 5
_SECONDS = 1.0


def stages(engine: Engine, spec: ModelSpec, raw: Array) -> Stages:
    """Take whole calls apart: five to thirty of them, for about a second.

    Args:
        engine: an opened, warm variant.
        spec: what it takes and gives.
        raw: raw examples of one call, as `prepare` takes them; the first axis is the batch.

    Raises:
        EngineError: the engine failed.
        BadInputError: the examples do not fit the spec, or the outputs are no answer to its task.
    """
    rows: list[tuple[float, float, float, float]] = []
    started = time.perf_counter()
    while len(rows) < _LEAST or (len(rows) < _MOST and time.perf_counter() - started < _SECONDS):
        rows.append(_one(engine, spec, raw))
    prepare_ms, infer_ms, answer_ms, whole = (float(value) for value in np.median(np.asarray(rows) * 1e3, axis=0))
    return Stages(prepare_ms=prepare_ms, infer_ms=infer_ms, answer_ms=answer_ms, end_to_end_ms=whole, calls=len(rows))


def _one(engine: Engine, spec: ModelSpec, raw: Array) -> tuple[float, float, float, float]:
    begun = time.perf_counter()
    inputs = prepare(raw, spec)
    prepared = time.perf_counter()
    outputs = engine.run(inputs)
    ran = time.perf_counter()
    answers(outputs, spec)
    ended = time.perf_counter()
    return prepared - begun, ran - prepared, ended - ran, ended - begun
