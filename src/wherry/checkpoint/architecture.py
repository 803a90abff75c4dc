"""The digest of a network's structure: operators, how they are wired, shapes and data types, without any weight."""

from typing import TYPE_CHECKING, Any

from wherry.core.codec import document_digest

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def architecture_digest(program: "ExportedProgram") -> str:
    """Return the sha256 of the graph without its weights; two trainings of one network have the same.

    Names of weights and of dynamic sizes are left out: they are labels, not structure.
    """
    index: dict[Any, int] = {}
    symbols: dict[str, str] = {}
    steps = []
    for node in program.graph.nodes:
        index[node] = len(index)
        arguments = [_plain(item, index, symbols) for item in (node.args, dict(node.kwargs))]
        steps.append([node.op, _target(node), arguments, _result(node.meta.get("val"), symbols)])
    return document_digest(steps)


def _target(node: Any) -> str:
    return str(node.target) if node.op == "call_function" else ""


def _result(value: Any, symbols: dict[str, str]) -> Any:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return [str(value.dtype), [_size(axis, symbols) for axis in value.shape]]
    if isinstance(value, list | tuple):
        return [_result(item, symbols) for item in value]
    return type(value).__name__


def _size(axis: Any, symbols: dict[str, str]) -> int | str:
    """Return a fixed length as it is, and a dynamic one under a name by order of appearance."""
    if isinstance(axis, int):
        return axis
    text = str(axis)
    return symbols.setdefault(text, f"d{len(symbols)}")


def _plain(value: Any, index: dict[Any, int], symbols: dict[str, str]) -> Any:
    if hasattr(value, "op") and hasattr(value, "users"):
        return f"%{index[value]}"
    if isinstance(value, list | tuple):
        return [_plain(item, index, symbols) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item, index, symbols) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
