"""numpy: `.npy` files, one array each. An array of objects is a pickle.

Layout: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

import ast
import math
import re
from typing import Any

from wherry.checkpoint.findings import Finding, FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.parts import Part
from wherry.checkpoint.pickles import read_stream

NAME = "numpy"
_MAX_HEADER = 1 << 16
_SIZE = re.compile(r"[|<>=]?([a-zA-Z?])([0-9]{0,9})")


def matches(head: bytes) -> bool:
    """Return whether the file says that it is one."""
    return head.startswith(b"\x93NUMPY")


def read(part: Part) -> FormatReport:
    """Read the header, and account for every byte behind it; or follow the stream, if the array holds objects."""
    findings: list[Finding] = []
    objects = False
    try:
        header, start = _header(part)
        objects = _holds_objects(header["descr"], part.where)
        if objects:
            _follow(part, start, findings)
        else:
            _check_length(part, header, start)
    except UncleanError as error:
        findings.append(error.finding)
    return FormatReport(format=NAME, findings=tuple(findings), needs="modules" if objects else "tensors")


def _header(part: Part) -> tuple[dict[str, Any], int]:
    version = part.at(6, 2)[0]
    width = 2 if version == 1 else 4
    length = int.from_bytes(part.at(8, width), "little")
    if version not in (1, 2, 3) or length > _MAX_HEADER:
        raise forbidden("Its header is not one that numpy writes.", where=part.where, code="numpy-header")
    try:
        header = ast.literal_eval(part.at(8 + width, length).decode("utf-8").strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise damaged("Its header is not one that numpy writes.", where=part.where, code="numpy-header") from error
    shape = header.get("shape") if isinstance(header, dict) else None
    sizes = isinstance(shape, tuple) and all(type(axis) is int and 0 <= axis < 1 << 62 for axis in shape)
    if not sizes or set(header) != {"descr", "fortran_order", "shape"}:
        raise damaged("Its header is not one that numpy writes.", where=part.where, code="numpy-header")
    return header, 8 + width + length


def _holds_objects(kind: Any, where: str) -> bool:
    if isinstance(kind, list):
        return any(_holds_objects(field[1], where) for field in kind if isinstance(field, tuple) and len(field) > 1)
    if isinstance(kind, tuple) and kind:
        return _holds_objects(kind[0], where)
    found = _SIZE.fullmatch(kind) if isinstance(kind, str) else None
    if found is None:
        raise damaged("Its data type is not one of numpy.", where=where, code="numpy-header")
    return found[1] == "O"


def _check_length(part: Part, header: dict[str, Any], start: int) -> None:
    found = _SIZE.fullmatch(header["descr"]) if isinstance(header["descr"], str) else None
    if found is None:
        return
    size = int(found[2] or 1) * (4 if found[1] == "U" else 1)
    end = start + (8 if found[1] in "mM" else size) * math.prod(header["shape"])
    if end > part.size:
        raise damaged("It ends in the middle of the array: the file is truncated.", where=part.where, code="truncated")
    if end < part.size:
        raise forbidden("More bytes follow the array.", where=part.where, code="numpy-tail")


def _follow(part: Part, start: int, findings: list[Finding]) -> None:
    if part.allow == "tensors":
        raise forbidden("It is an array of objects, which is a pickle.", where=part.where, code="numpy-objects")
    stream = read_stream(part, where=part.where, start=start, into=findings)
    if stream.end != part.size:
        raise forbidden("More bytes follow the array.", where=part.where, code="numpy-tail")
