"""`.pt2`: a program captured by `torch.export` (torch 2.8 and later), with its weights as plain bytes.

The graph is JSON, but opening it is not harmless: torch evaluates its size expressions with `sympy.sympify`, executes
its guards as Python, resolves its operators by attribute path, and unpickles payloads that say so. So each of these
is checked against what a graph of tensors needs (`torch/_export/serde/serialize.py`, `torch/export/_unlift.py`,
`torch/export/pt2_archive/_package.py`).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from wherry.checkpoint.archive import Archive
from wherry.checkpoint.expressions import is_plain
from wherry.checkpoint.findings import Finding, FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.formats import torch_zip
from wherry.checkpoint.parts import Part

NAME = "pt2"
MAX_JSON = 64 << 20
_MEMBER = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|\.format_version|\.storage_alignment"
    r"|models/[^/]+\.json|data/sample_inputs/[^/]+\.pt|extra/.+"
    r"|data/weights/(weight_[0-9]+|[^/]+_weights_config\.json)|data/constants/(tensor_[0-9]+|[^/]+_constants_config\.json)"
)
_NAMESPACES = ("aten", "prims", "quantized_decomposed", "torchvision", "higher_order")
_OPERATOR = re.compile(rf"torch\.ops\.(?:{'|'.join(_NAMESPACES)})\.([a-z_][a-z0-9_]*)(?:\.[a-zA-Z_][a-zA-Z0-9_]*)?")
_TOUCHES_FILES = frozenset({"from_file", "save", "load"})
_ARITHMETIC = re.compile(
    r"_operator\.(eq|ne|le|ge|lt|gt|neg|pos|mul|add|sub|floordiv|mod|pow|truediv|and_|or_|lshift|rshift|getitem)"
    r"|math\.(trunc|ceil|floor)|torch\.(sym_(int|float|ite|max|min|sqrt|not|sum)|_sym_sqrt)"
)


def matches(archive: Archive) -> bool:
    """Return whether the archive is one of `torch.export.save`."""
    return any(re.fullmatch(r"[^/]+/archive_format", name) for name in archive.members)


def read(archive: Archive, part: Part) -> FormatReport:
    """Read every member: the graph by its rules, the sample inputs as a checkpoint of their own."""
    try:
        _check(archive)
    except UncleanError as error:
        return FormatReport(format=NAME, findings=(error.finding,))
    return FormatReport(format=NAME, findings=_samples(archive, part))


def _check(archive: Archive) -> None:
    root = torch_zip.root_of(archive)
    if archive.read(f"{root}/archive_format", 16) != b"pt2":
        raise damaged("Its archive format is not 'pt2'.", code="pt2-graph")
    for name in archive.members:
        inner = name.removeprefix(f"{root}/")
        if inner.startswith("data/aotinductor/"):
            raise forbidden("It holds native code, not only a graph.", where=name, code="native-code")
        if not _MEMBER.fullmatch(inner):
            raise forbidden(
                "The archive has a member that a captured program does not need.", where=name, code="pt2-graph"
            )
        archive.verify(name)
        if inner.startswith("models/"):
            _check_graph(_json(archive, name), name)
        elif inner.endswith("_config.json") and inner.startswith("data/"):
            _check_payloads(_json(archive, name), name)
    if not any(name.startswith(f"{root}/models/") for name in archive.members):
        raise damaged("It holds no graph.", code="pt2-graph")


def _samples(archive: Archive, part: Part) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    for name in archive.members:
        if name.endswith(".pt") and "/data/sample_inputs/" in name:
            try:
                inner = replace(archive.part(name, part), allow="tensors")
                report = torch_zip.read(Archive(inner.file, inner.size), inner)
                findings.extend(replace(finding, where=finding.where or name) for finding in report.findings)
            except UncleanError as error:
                findings.append(replace(error.finding, where=error.finding.where or name))
    return tuple(findings)


def _json(archive: Archive, name: str) -> Any:
    try:
        return json.loads(archive.read(name, MAX_JSON))
    except (ValueError, RecursionError) as error:
        raise damaged("It is not JSON.", where=name, code="pt2-graph") from error


def _check_payloads(document: Any, where: str) -> None:
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise damaged("Its list of tensors is not one.", where=where, code="pt2-graph")
    for payload in config.values():
        plain = isinstance(payload, dict) and payload.get("use_pickle") is False
        if not plain or not re.fullmatch(r"(weight|tensor)_[0-9]+", str(payload.get("path_name"))):
            raise forbidden("A tensor is stored as a pickle or outside its folder.", where=where, code="pt2-graph")


def _check_graph(document: Any, where: str) -> None:
    if not isinstance(document, dict):
        raise damaged("Its graph is not a JSON object.", where=where, code="pt2-graph")
    for guard in document.get("guards_code") or []:
        if not is_plain(guard):
            raise forbidden("A guard of the graph is more than a comparison of sizes.", where=where, code="pt2-graph")
    for entry in _objects(document):
        _check_entry(entry, where)


def _check_entry(entry: dict[str, Any], where: str) -> None:
    if "__enum__" in entry:
        raise forbidden("The graph names a Python class.", where=where, code="pt2-graph")
    if "expr_str" in entry and not is_plain(entry["expr_str"]):
        raise forbidden("A size expression of the graph is more than arithmetic.", where=where, code="pt2-graph")
    if "target" in entry and "inputs" in entry:
        _check_operator(entry["target"], where)
    for key in ("in_spec", "out_spec"):
        if "__enum__" in str(entry.get(key, "")):
            raise forbidden("The graph names a Python class.", where=where, code="pt2-graph")


def _check_operator(target: object, where: str) -> None:
    text = target if isinstance(target, str) else ""
    operator = _OPERATOR.fullmatch(text)
    if operator is not None and operator[1] not in _TOUCHES_FILES and not operator[1].startswith("__"):
        return
    if _ARITHMETIC.fullmatch(text):
        return
    msg = f"The graph calls {text[:80]!r}, which is no operator on tensors."
    raise forbidden(msg, where=where, code="pt2-operator")


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object, without recursion."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
