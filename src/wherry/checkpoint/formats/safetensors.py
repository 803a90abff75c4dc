"""safetensors: 8 bytes of header length, a JSON header, and the tensors' bytes without gaps.

Rules as in the format's own description (https://github.com/huggingface/safetensors, README, "Format"), read strictly.
"""

import json
from typing import Any

from wherry.checkpoint.findings import FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.parts import Part

NAME = "safetensors"
MAX_HEADER = 16 << 20
_SIZES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
    "C64": 8,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
}


def matches(head: bytes) -> bool:
    """Return whether the first 9 bytes are those of safetensors, however long they say that the header is."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 48


def read(part: Part) -> FormatReport:
    """Read the header and account for every byte behind it."""
    try:
        _check(part)
    except UncleanError as error:
        return FormatReport(format=NAME, findings=(error.finding,))
    return FormatReport(format=NAME)


def _check(part: Part) -> None:
    size = part.size
    length = int.from_bytes(part.at(0, 8), "little")
    if length > MAX_HEADER:
        raise forbidden("Its header is longer than that of any checkpoint.", code="safetensors-header")
    if 8 + length > size:
        raise damaged("It ends inside its header: the file is truncated.", code="truncated")
    header = _parse(part.at(8, length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise damaged("Its metadata is not a map of text to text.", code="safetensors-header")
    position = 0
    for name, (begin, end) in sorted(
        ((name, _span(name, entry)) for name, entry in header.items()), key=lambda it: it[1]
    ):
        if begin != position:
            raise forbidden("Tensors overlap, or bytes lie between them.", where=name[:80], code="safetensors-layout")
        position = end
    if 8 + length + position > size:
        raise damaged("It ends in the middle of a tensor: the file is truncated.", code="truncated")
    if 8 + length + position < size:
        raise forbidden("More bytes follow the last tensor.", code="safetensors-layout")


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        header = json.loads(raw.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise damaged("Its header is not JSON.", code="safetensors-header") from error
    if not isinstance(header, dict):
        raise damaged("Its header is not a JSON object.", code="safetensors-header")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise forbidden("Its header has two entries of one name.", code="safetensors-header")
    return table


def _span(name: str, entry: object) -> tuple[int, int]:
    """Return where the tensor's bytes begin and end, behind the header."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise damaged("An entry of the header is not that of a tensor.", where=name[:80], code="safetensors-header")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not (_sizes(shape) and _sizes(offsets) and len(offsets) == 2) or str(entry["dtype"]) not in _SIZES:
        raise damaged("A tensor's type, shape or place is not one.", where=name[:80], code="safetensors-header")
    length = _SIZES[str(entry["dtype"])]
    for axis in shape:
        length *= axis
    begin, end = offsets
    if end - begin != length:
        raise damaged(
            "A tensor's bytes do not have the length of its shape.", where=name[:80], code="safetensors-layout"
        )
    return begin, end


def _sizes(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= 64
        and all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**62 for item in value)
    )
