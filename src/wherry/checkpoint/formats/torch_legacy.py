"""Pickle streams outside an archive: the format of `torch.save` before 1.6, and every other raw pickle.

Layout of the former: five streams (magic number, protocol, system, object, list of storage keys), then for each key
its number of elements as 8 bytes and the elements (`torch/serialization.py`, `_legacy_save`).
"""

import struct

from wherry.checkpoint.findings import Finding, FormatReport, Tier, UncleanError, damaged, forbidden
from wherry.checkpoint.heights import move
from wherry.checkpoint.opcodes import Source, opcodes
from wherry.checkpoint.parts import Part
from wherry.checkpoint.pickles import Reading, Stream, read_stream

NAME = "torch-legacy"
PICKLE = "pickle"
JOBLIB = Reading(joblib=True)
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_STREAMS = 1000
_MAX_NOISE = 1_000_000
_ACTS = {"INST": 0, "OBJ": 1, "REDUCE": 2, "NEWOBJ": 2, "NEWOBJ_EX": 3, "BUILD": 2, "STOP": 1}
"""How much must lie on the stack for an opcode that calls or stops, or else every reader fails there."""


def read(part: Part) -> FormatReport:
    """Read the streams one after another, and then the storages, to the last byte."""
    findings: list[Finding] = []
    streams: list[Stream] = []
    name = PICKLE
    try:
        streams.append(read_stream(part, where=_place(part, 1), into=findings, reading=JOBLIB))
        if streams[0].value == _MAGIC:
            name = NAME
            _read_torch(part, streams, findings)
        else:
            _read_others(part, streams, findings)
            name = _kind(streams)
            _check_other(part)
    except UncleanError as error:
        findings.append(error.finding)
    whole = name != NAME or any(stream.needs == "modules" for stream in streams)
    needs: Tier = "modules" if whole else "tensors"
    return FormatReport(format=name, findings=tuple(findings), needs=needs)


def is_noise(part: Part) -> bool:
    """Return whether the bytes break off as a pickle before they would call anything or stop: text, an image, noise.

    Only the height of the stack is followed, over all opcodes that there are, those of old protocols included.
    """
    heights = [0]
    try:
        for number, (name, argument, _) in enumerate(opcodes(Source(part.file, part.size), "")):
            if number > _MAX_NOISE:
                return False
            needed = _ACTS.get(name)
            if needed is not None:
                return heights[-1] < needed or (name in ("INST", "OBJ") and len(heights) < 2)
            if not move(heights, name, argument):
                return True
    except UncleanError:
        return True
    return True


def _place(part: Part, number: int) -> str:
    return f"{part.where}/stream {number}" if part.where else f"stream {number}"


def _kind(streams: list[Stream]) -> str:
    """Return a clearer name for a pickle that is not one of torch."""
    names = set().union(*(stream.names for stream in streams))
    if any(name.startswith("joblib.") for name in names):
        return "joblib"
    if any(name.startswith("sklearn.") for name in names):
        return "sklearn"
    return PICKLE


def _check_other(part: Part) -> None:
    if part.allow == "tensors":
        raise damaged("It is a pickle, but not one of torch.save.", where=part.where, code="not-a-model")
    if part.head(1) != b"\x80":
        raise forbidden("It is a pickle of protocol 0 or 1.", where=part.where, code="pickle-opcode")


def _read_torch(part: Part, streams: list[Stream], findings: list[Finding]) -> None:
    def follow(number: int) -> Stream:
        streams.append(read_stream(part, where=_place(part, number), start=streams[-1].end, into=findings))
        return streams[-1]

    if follow(2).value != _PROTOCOL:
        raise damaged("Its protocol number is not the one that torch.save writes.", code="torch-legacy")
    system = follow(3)
    if not isinstance(system.value, dict) or system.value.get("little_endian") is not True:
        raise damaged("It was not written on a little-endian machine.", code="torch-legacy")
    content, keys = follow(4), follow(5)
    if any(finding.kind == "forbidden" for finding in findings):
        return
    _read_storages(part, content, keys)


def _read_storages(part: Part, content: Stream, keys: Stream) -> None:
    names = keys.value
    if not isinstance(names, list) or len(names) != len(set(map(str, names))) or set(names) != set(content.storages):
        raise damaged("Its list of storages does not fit its tensors.", code="torch-storage")
    position = keys.end
    for name in names:
        storage = content.storages[name]
        if position + 8 + storage.size > part.size:
            raise damaged("It ends in the middle of a storage: the file is truncated.", code="truncated")
        head = part.at(position, 8)
        if struct.unpack("<q", head)[0] != storage.elements:
            msg = f"Storage {name!r} does not have the number of elements that its tensors need."
            raise damaged(msg, code="torch-storage")
        position += 8 + storage.size
    if position != part.size:
        raise forbidden("More bytes follow the last storage.", code="torch-tail")


def _read_others(part: Part, streams: list[Stream], findings: list[Finding]) -> None:
    """Follow the streams that lie behind the first one, so that a hidden one is named."""
    while streams[-1].end < part.size:
        if len(streams) >= _MAX_STREAMS:
            raise forbidden("It holds more pickle streams than any checkpoint.", code="pickle-limit")
        place = _place(part, len(streams) + 1)
        streams.append(read_stream(part, where=place, start=streams[-1].end, into=findings, reading=JOBLIB))
