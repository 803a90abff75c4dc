"""An ONNX file as the program itself: checked against its spec, and run by ONNX Runtime as the reference."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wherry.checkpoint.blame import first_line
from wherry.checkpoint.describe import Description, draft_spec, with_outputs
from wherry.checkpoint.examples import DEFAULT_LENGTH
from wherry.core.codec import document_digest
from wherry.core.digest import sha256_hex
from wherry.core.errors import CheckpointError, EngineError, SpecMismatchError
from wherry.core.model import ModelSpec
from wherry.runtime import telemetry
from wherry.runtime.engines import engine_class
from wherry.runtime.installed import installed_version
from wherry.runtime.interface import Array

ENGINE = "onnxruntime"
_BATCHES = (1, 2, 3)


def check_graph(path: Path) -> Any:
    """Return the file's model, after checking that it is whole and that its weights are finite.

    Raises:
        CheckpointError: it is no valid ONNX model, or a weight is not a finite number.
    """
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        msg = f"{path.name} is not a valid ONNX model: {reason}"
        raise CheckpointError(msg, next_step="Export it again.") from error
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        bad = int((~np.isfinite(values)).sum()) if values.dtype.kind == "f" else 0
        if bad and values.size > 1:  # a single infinity is how a graph writes a mask
            msg = f"The weight {tensor.name!r} holds {bad} values of {values.size} that are not finite numbers."
            raise CheckpointError(msg, next_step="Train again, or take an earlier checkpoint.")
    return model


def spec_of(model: Any, path: Path, description: Description) -> ModelSpec:
    """Return the spec of an ONNX model from a description: names from the graph, shapes from one run.

    Raises:
        SpecMismatchError: it has more than one input, or refuses the input.
    """
    names = _input_names(model)
    if len(names) != 1:
        msg = f"The ONNX model takes {len(names)} inputs ({', '.join(names)}), and only one can be described."
        raise SpecMismatchError(msg, next_step="Write a spec as JSON, and give it with --spec.")
    draft = draft_spec(description)
    first = _first_axis(model, names[0])
    entry = replace(draft.inputs[0], name=names[0], shape=(first, *draft.inputs[0].shape[1:]))
    draft = replace(draft, inputs=(entry,))
    size = first if isinstance(first, int) else 2
    session = _session(path)
    try:
        found = session.run(None, _inputs(draft, size))
    except Exception as error:
        shape = [size, *entry.shape[1:]]
        msg = f"The ONNX model refuses an input of {shape}: {first_line(error)}"
        raise SpecMismatchError(msg, next_step="Give the size that the network was exported with.") from error
    named = zip([value.name for value in session.get_outputs()], found, strict=True)
    return with_outputs(draft, description, [(name, str(array.dtype), array.shape) for name, array in named], size)


def adopt(model: Any, source: Path, spec: ModelSpec, path: Path) -> str:
    """Copy the file to `path` once it was seen to do what the spec says, and return its structure's digest.

    Raises:
        SpecMismatchError: names differ, or it refuses a batch that the spec allows.
        CheckpointError: it gives values that are not finite numbers.
    """
    given = (_input_names(model), [value.name for value in model.graph.output])
    said = ([tensor.name for tensor in spec.inputs], [tensor.name for tensor in spec.outputs])
    if given != said:
        msg = f"The spec says {said[0]} -> {said[1]}, and the ONNX model {given[0]} -> {given[1]}."
        raise SpecMismatchError(msg, next_step="Use the names of the ONNX model in the spec.")
    first = spec.inputs[0].shape[0]
    for batch in (first,) if isinstance(first, int) else _BATCHES:
        for name, array in _run(source, spec, batch).items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                msg = f"The ONNX model gives values in {name!r} that are not finite numbers."
                raise CheckpointError(msg, next_step="Look for an overflow or a division by zero in the network.")
    shutil.copyfile(source, path)
    return _structure(model)


def tools() -> dict[str, str]:
    """Return what reads the file here, with versions."""
    found = {name: installed_version(name, (name,)) for name in ("onnx", ENGINE)}
    return {name: version for name, version in found.items() if version is not None}


def _session(path: Path) -> Any:
    telemetry.silence()
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _run(path: Path, spec: ModelSpec, batch: int) -> Mapping[str, Array]:
    try:
        with engine_class(ENGINE)(path, spec) as engine:
            return engine.run(_inputs(spec, batch))
    except EngineError as error:
        msg = f"The ONNX model does not do for a batch of {batch} what the spec says: {error.message}"
        raise SpecMismatchError(msg, next_step="Mend the shapes of the spec; write fixed axes as numbers.") from error


def _inputs(spec: ModelSpec, batch: int) -> dict[str, Array]:
    """Return random inputs; the first axis is `batch`, another dynamic one as long as examples are anywhere here."""
    generator = np.random.default_rng(batch)
    shapes = {
        tensor.name: [
            batch if i == 0 else axis if isinstance(axis, int) else DEFAULT_LENGTH
            for i, axis in enumerate(tensor.shape)
        ]
        for tensor in spec.inputs
    }
    return {tensor.name: _random(generator, shapes[tensor.name], tensor.dtype) for tensor in spec.inputs}


def _random(generator: np.random.Generator, shape: Iterable[int], dtype: str) -> Array:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return generator.random(tuple(shape)).astype(kind)
    return generator.integers(0, 2, tuple(shape)).astype(kind)


def _input_names(model: Any) -> list[str]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in weights]


def _first_axis(model: Any, name: str) -> int | str:
    """Return the fixed batch of an input, or `batch` when its first axis is dynamic."""
    value = next(value for value in model.graph.input if value.name == name)
    axes = value.type.tensor_type.shape.dim
    return int(axes[0].dim_value) if axes and axes[0].HasField("dim_value") else "batch"


def _structure(model: Any) -> str:
    """Return the digest of the graph: operators, attributes, wiring, shapes of weights; no weight and no name."""
    index: dict[str, int] = {}
    weights = {tensor.name: [tensor.data_type, list(tensor.dims)] for tensor in model.graph.initializer}
    steps: list[Any] = [[list(pair) for pair in sorted((entry.domain, entry.version) for entry in model.opset_import)]]
    for node in model.graph.node:
        wires = [weights.get(name, index.setdefault(name, len(index))) for name in (*node.input, *node.output)]
        steps.append([node.domain, node.op_type, wires, sorted(_attribute(entry) for entry in node.attribute)])
    return document_digest(steps)


def _attribute(entry: Any) -> str:
    """Return an attribute as text; a tensor inside it by its kind and shape, a graph by its digest."""
    if entry.HasField("t"):
        return f"{entry.name}: tensor {entry.t.data_type} {list(entry.t.dims)}"
    return f"{entry.name}: {sha256_hex(entry.SerializeToString(deterministic=True))}"
