"""Opens a model and makes it prove itself before it may take traffic."""

import logging

import numpy as np

from wherry.core.errors import ProofRefusedError
from wherry.core.model import ModelSpec
from wherry.proof.job import ProofJob, prove_release
from wherry.runtime import telemetry
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import Array, Engine, EngineOptions, Tensors
from wherry.serving.model import ServedModel
from wherry.serving.signature import check_servable

_LOG = logging.getLogger(__name__)


def open_model(model: ServedModel, *, threads: int = 0) -> Engine:
    """Return the opened, self-tested and warm engine of `model`.

    The golden set is run if there is one, by the same proof that accepted the export; then one batch of zeros, so that
    no caller pays for what a runtime only does the first time.

    Raises:
        ProofRefusedError: the self-test ran and did not pass.
        WherryError: a file cannot be read, or the engine cannot load or run the model.
    """
    telemetry.silence()
    check_servable(model.spec)
    _self_test(model, threads)
    member = engine_class(model.engine)
    engine = member(
        model.main, model.spec, batch=model.batch, options=EngineOptions(device=model.device, threads=threads)
    )
    try:
        _warm_up(engine, model)
    except BaseException:
        engine.close()
        raise
    return engine


def _self_test(model: ServedModel, threads: int) -> None:
    if model.golden is None or model.golden_sha256 is None or model.variant is None:
        return
    job = ProofJob(
        variant=model.variant,
        main=str(model.main),
        spec=model.spec,
        golden=str(model.golden),
        golden_sha256=model.golden_sha256,
        where="server",
        device=model.device,
        threads=threads,
    )
    report = prove_release(job)
    if not report.passed:
        msg = f"{model.title} did not pass its self-test ({report.verdict}): {'; '.join(report.reasons)}."
        raise ProofRefusedError(msg, next_step="Serve the previous version, and export this one again.")


def _warm_up(engine: Engine, model: ServedModel) -> None:
    inputs = zeros(model.spec, model.batch or 1)
    if inputs is None:
        _LOG.info("%s has inputs of open size, so it was not warmed up", model.title)
        return
    engine.run(inputs)


def zeros(spec: ModelSpec, rows: int) -> Tensors | None:
    """Return one batch of zeros (empty strings for BYTES), or None if an axis other than the first is dynamic."""
    inputs: Tensors = {}
    for tensor in spec.inputs:
        shape = (rows if axis == 0 and isinstance(size, str) else size for axis, size in enumerate(tensor.shape))
        fixed = [size for size in shape if isinstance(size, int)]
        if len(fixed) != len(tensor.shape):
            return None
        dtype = np.dtype(tensor.dtype)
        array: Array = np.full(fixed, b"", dtype) if dtype.kind == "O" else np.zeros(fixed, dtype)
        inputs[tensor.name] = array
    return inputs
