"""The protocol's JSON documents about a server and its models."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import orjson
from starlette.responses import Response

from wherry.core.errors import WherryError
from wherry.core.model import TensorSpec
from wherry.serving.pool import Entry
from wherry.serving.refusal import RefusedRequestError, status_of
from wherry.serving.signature import wire_datatype, wire_shape

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_repository",
    "model_configuration",
    "statistics",
)
_PLATFORMS = {"onnxruntime": "onnx_onnxv1"}
_INSTANCE_KINDS = {"cpu": "KIND_CPU", "gpu": "KIND_GPU", "mps": "KIND_MODEL"}


def json_response(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON document as an HTTP response."""
    return Response(orjson.dumps(document), status, {"Content-Type": "application/json", **(headers or {})})


def failure(error: WherryError) -> Response:
    """Return the error as the protocol writes it, with the status that belongs to it."""
    headers = error.headers if isinstance(error, RefusedRequestError) else {}
    return json_response({"error": error.message}, status=status_of(error), headers=headers)


def server_document() -> dict[str, Any]:
    """Return the document of `/v2`."""
    return {"name": "wherry", "version": _version(), "extensions": EXTENSIONS}


def metadata_document(entry: Entry, versions: Sequence[int]) -> dict[str, Any]:
    """Return a model's metadata; `versions` are those that answer."""
    spec = entry.model.spec
    return {
        "name": entry.model.name,
        "versions": [str(version) for version in versions],
        "platform": _platform(entry),
        "inputs": [_tensor(tensor) for tensor in spec.inputs],
        "outputs": [_tensor(tensor) for tensor in spec.outputs],
    }


def config_document(entry: Entry, versions: Sequence[int], max_rows: int, max_queue: int) -> dict[str, Any]:
    """Return a model's configuration in Triton's words; `max_rows` is 0 if requests cannot share a batch."""
    model = entry.model
    document: dict[str, Any] = {
        "name": model.name,
        "platform": _platform(entry),
        "backend": model.engine,
        "version_policy": {"specific": {"versions": list(versions)}},
        "max_batch_size": max_rows,
        "input": [_configured(tensor, batched=max_rows > 0) for tensor in model.spec.inputs],
        "output": [_configured(tensor, batched=max_rows > 0) for tensor in model.spec.outputs],
        "instance_group": [{"name": model.name, "kind": _INSTANCE_KINDS[model.device], "count": 1}],
        "default_model_filename": model.main.name,
    }
    if max_rows:
        policy = {"timeout_action": "REJECT", "allow_timeout_override": True, "max_queue_size": max_queue}
        document["dynamic_batching"] = {"max_queue_delay_microseconds": 0, "default_queue_policy": policy}
    return document


def index_document(entries: Sequence[Entry], *, ready_only: bool) -> list[dict[str, str]]:
    """Return the repository's index."""
    return [
        {
            "name": entry.model.name,
            "version": str(entry.model.version),
            "state": str(entry.state),
            "reason": entry.reason,
        }
        for entry in entries
        if entry.ready or not ready_only
    ]


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": wire_datatype(tensor), "shape": wire_shape(tensor)}


def _configured(tensor: TensorSpec, *, batched: bool) -> dict[str, Any]:
    datatype = wire_datatype(tensor)
    shape = wire_shape(tensor)
    document: dict[str, Any] = {
        "name": tensor.name,
        "data_type": "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}",
        "dims": shape[1:] if batched else shape,
    }
    if not document["dims"]:
        document |= {"dims": [1], "reshape": {"shape": []}}
    return document


def _platform(entry: Entry) -> str:
    return _PLATFORMS.get(entry.model.engine, f"wherry_{entry.model.engine}")


def _version() -> str:
    try:
        return metadata.version("wherry")
    except metadata.PackageNotFoundError:
        return "0"
