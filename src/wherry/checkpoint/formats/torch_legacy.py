"""Pickle streams outside an archive: the format of `torch.save` before 1.6, and every other raw pickle.

Layout of the former: five streams (magic number, protocol, system, object, list of storage keys), then for each key
its number of elements as 8 bytes and the elements (`torch/serialization.py`, `_legacy_save`).
"""

import io
import pickletools
import struct
from typing import BinaryIO

from wherry.checkpoint.findings import Finding, FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.pickles import Stream, read_stream

NAME = "torch-legacy"
PICKLE = "pickle"
MAX_PICKLE = 64 << 20
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_STREAMS = 1000
_MARKED = frozenset({"MARK"})
_NAMED = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"})
_NEEDS: dict[str, frozenset[str]] = {
    "INST": _MARKED,
    "OBJ": _MARKED,
    "REDUCE": _NAMED,
    "NEWOBJ": _NAMED,
    "NEWOBJ_EX": _NAMED,
    "BUILD": _NAMED,
    "STOP": _NAMED | _MARKED,
}
"""What must have come before an opcode that calls or stops, or else every reader fails there."""


def read(file: BinaryIO, size: int) -> FormatReport:
    """Read the streams one after another, and then the storages, to the last byte."""
    findings: list[Finding] = []
    file.seek(0)
    data = file.read(MAX_PICKLE)
    name = PICKLE
    try:
        first = read_stream(data, where="stream 1", into=findings)
        if first.value == _MAGIC:
            name = NAME
            _read_torch(file, size, data, first.end, findings)
        else:
            _read_others(data, first.end, findings)
            raise damaged("It is a pickle, but not one of torch.save.")
    except UncleanError as error:
        findings.append(error.finding)
    return FormatReport(format=name, findings=tuple(findings))


def is_noise(file: BinaryIO) -> bool:
    """Return whether the bytes break off as a pickle before they would call anything or stop: text, an image, noise."""
    file.seek(0)
    seen: set[str] = set()
    try:
        for opcode, _, _ in pickletools.genops(io.BytesIO(file.read(MAX_PICKLE))):
            needed = _NEEDS.get(opcode.name)
            if needed is not None:
                return not (seen & needed)
            seen.add(opcode.name)
    except (ValueError, UnicodeError, OverflowError, MemoryError):
        return True
    return True


def _read_torch(file: BinaryIO, size: int, data: bytes, start: int, findings: list[Finding]) -> None:
    protocol = read_stream(data, where="stream 2", start=start, into=findings)
    if protocol.value != _PROTOCOL:
        raise damaged("Its protocol number is not the one that torch.save writes.")
    system = read_stream(data, where="stream 3", start=protocol.end, into=findings)
    if not isinstance(system.value, dict) or system.value.get("little_endian") is not True:
        raise damaged("It was not written on a little-endian machine.")
    content = read_stream(data, where="stream 4", start=system.end, into=findings)
    keys = read_stream(data, where="stream 5", start=content.end, into=findings)
    if any(finding.kind == "forbidden" for finding in findings):
        return
    _read_storages(file, size, content, keys)


def _read_storages(file: BinaryIO, size: int, content: Stream, keys: Stream) -> None:
    names = keys.value
    if not isinstance(names, list) or len(names) != len(set(map(str, names))) or set(names) != set(content.storages):
        raise damaged("Its list of storages does not fit its tensors.")
    position = keys.end
    for name in names:
        storage = content.storages[name]
        file.seek(position)
        head = file.read(8)
        if len(head) < 8 or position + 8 + storage.size > size:
            raise damaged("It ends in the middle of a storage: the file is truncated.")
        if struct.unpack("<q", head)[0] != storage.elements:
            msg = f"Storage {name!r} does not have the number of elements that its tensors need."
            raise damaged(msg)
        position += 8 + storage.size
    if position != size:
        raise forbidden("More bytes follow the last storage.")


def _read_others(data: bytes, start: int, findings: list[Finding]) -> None:
    """Follow the streams that lie behind the first one, so that a hidden one is named."""
    number = 1
    while start < len(data) and number < _MAX_STREAMS:
        number += 1
        start = read_stream(data, where=f"stream {number}", start=start, into=findings).end
