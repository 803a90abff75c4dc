"""The `.pt` that people know, made runnable: weights under their own names, and beside them the graph without weights.

The file is one dictionary of plain values and tensors, so `torch.load(path, weights_only=True)` opens it anywhere:

    format         "wherry-pytorch"
    schema         1
    precision      "fp32", or "fp16" for weights stored in half precision
    state_dict     the network's own names -> tensors
    architecture   facts about the network, its digest, and `graph`: a `.pt2` without weights as a uint8 tensor
    metadata       model, version, spec, training facts

The graph is read as any other program is (`program.read_program`): no code in it is executed. PyTorch's restricted
unpickler, which builds tensors and plain values and nothing else, reads the dictionary.
"""

import io
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.core.errors import EngineError
from wherry.runtime.program import read_program

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

FORMAT = "wherry-pytorch"
SCHEMA = 1
_REMEDY = "Export the variant again with wherry."


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What a packed file held."""

    program: "ExportedProgram"
    """With its weights in place, in the dtypes that the graph computes in."""
    half: bool
    """Whether the weights are stored in half precision."""


def pack(
    program: "ExportedProgram", *, architecture: dict[str, Any], metadata: dict[str, Any], half: bool
) -> dict[str, Any]:
    """Return the dictionary to hand to `torch.save`. The program loses its weights.

    Args:
        program: the captured network.
        architecture: plain facts about the network; `graph` is added.
        metadata: plain facts about the version.
        half: store floating-point weights as float16; float32 numbers beyond 65504 are refused.

    Raises:
        EngineError: a weight does not fit into half precision.
    """
    import torch

    weights = {name: value.detach() for name, value in program.state_dict.items()}
    for name, value in program.state_dict.items():
        program.state_dict[name] = _like(value, torch.zeros((), dtype=value.dtype).expand(value.shape))
    graph = io.BytesIO()
    with warnings.catch_warnings():  # a stand-in is smaller than its tensor, which torch warns of
        warnings.filterwarnings("ignore", message="No complete tensor found")
        torch.export.save(program, graph)
    stored = torch.frombuffer(bytearray(graph.getvalue()), dtype=torch.uint8)
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "precision": "fp16" if half else "fp32",
        "state_dict": {name: _halved(name, value) for name, value in weights.items()} if half else weights,
        "architecture": {**architecture, "graph": stored},
        "metadata": metadata,
    }


def is_packed(path: Path) -> bool:
    """Return whether the file is what `torch.save` writes; a `.pt2` is not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") and name.count("/") == 1 for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def open_packed(path: Path) -> Packed:
    """Return the program in a packed file with its weights in place; nothing from the file is executed.

    Raises:
        EngineError: it is no packed file, of another schema, or weights and graph do not fit together.
        ScanRefusedError: the graph holds more than a graph.
    """
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        msg = f"{path.name} is damaged, or holds more than tensors and plain values, so it was not opened."
        raise EngineError(msg, next_step=_REMEDY) from error
    if not isinstance(found, dict) or (found.get("format"), found.get("schema")) != (FORMAT, SCHEMA):
        msg = f"{path.name} is no {FORMAT} file of schema {SCHEMA}, so it holds no graph that can be run."
        raise EngineError(msg, next_step=_REMEDY)
    weights, graph = found.get("state_dict"), found.get("architecture", {}).get("graph")
    if not isinstance(weights, dict) or not isinstance(graph, torch.Tensor) or graph.dtype != torch.uint8:
        msg = f"{path.name} lacks its weights or its graph."
        raise EngineError(msg, next_step=_REMEDY)
    program = read_program(io.BytesIO(graph.numpy().tobytes()), f"The graph in {path.name}")
    _put_back(program, weights, path.name)
    return Packed(program=program, half=found.get("precision") == "fp16")


def _put_back(program: "ExportedProgram", weights: dict[str, Any], name: str) -> None:
    slots = program.state_dict
    if slots.keys() != weights.keys():
        odd = sorted(slots.keys() ^ weights.keys())
        msg = f"{name} holds other weights than its graph needs, such as {odd[0]!r}."
        raise EngineError(msg, next_step=_REMEDY)
    for key, slot in slots.items():
        value = weights[key]
        if value.shape != slot.shape:
            msg = f"{name} holds {key!r} of shape {list(value.shape)}, and its graph needs {list(slot.shape)}."
            raise EngineError(msg, next_step=_REMEDY)
        slots[key] = _like(slot, value.to(slot.dtype))


def _like(slot: "torch.Tensor", value: "torch.Tensor") -> "torch.Tensor":
    """Return the value as a parameter where the slot holds one."""
    import torch

    return torch.nn.Parameter(value, requires_grad=False) if isinstance(slot, torch.nn.Parameter) else value


def _halved(name: str, value: "torch.Tensor") -> "torch.Tensor":
    import torch

    if value.dtype != torch.float32:
        return value
    half = value.half()
    if not torch.isfinite(half).all():
        msg = f"The weight {name!r} holds {float(value.abs().max()):.3g}, which does not fit into half precision."
        raise EngineError(msg, next_step="Choose fp32 for this network.")
    return half
