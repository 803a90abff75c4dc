"""Decides by its content what a file is, and has it read. The name of a file decides nothing."""

from collections.abc import Callable
from dataclasses import replace

from wherry.checkpoint import containers
from wherry.checkpoint.archive import Archive
from wherry.checkpoint.findings import Finding, FormatReport, UncleanError
from wherry.checkpoint.formats import (
    arrays,
    beside,
    coreml,
    executorch,
    keras,
    onnx,
    openvino,
    pt2,
    safetensors,
    skops,
    tensorflow,
    tflite,
    torch_legacy,
    torch_zip,
    torchscript,
)
from wherry.checkpoint.parts import Part, Window
from wherry.checkpoint.protobuf import Message

UNKNOWN = "unknown"
_ARCHIVES: tuple[tuple[Callable[[Archive], bool], Callable[[Archive, Part], FormatReport]], ...] = (
    (pt2.matches, pt2.read),
    (torchscript.matches, torchscript.read),
    (torch_zip.matches, torch_zip.read),
    (keras.matches, keras.read),
    (skops.matches, skops.read),
)
_HEAD = 4096
_END_OF_ZIP = b"PK\x05\x06"
_MAX_COMMENT = 1 << 16


def read(part: Part) -> FormatReport:
    """Return what the file is and what was found in it; never raises for what is in it."""
    try:
        return _read(part)
    except UncleanError as error:
        return FormatReport(format=UNKNOWN, findings=(replace(error.finding, where=error.finding.where or part.where),))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, MemoryError) as error:
        what = f"It could not be parsed to its end ({type(error).__name__})."
        return FormatReport(
            format=UNKNOWN, findings=(Finding(kind="damaged", where=part.where, what=what, code="unparsed"),)
        )


def _read(part: Part) -> FormatReport:
    head = part.head(_HEAD)
    if not head:
        return FormatReport(format=beside.TEXT, model=False) if part.inside else _unreadable(part, "It is empty.")
    if head.startswith((b"PK\x03\x04", _END_OF_ZIP)):
        return _read_archive(part)
    found = _read_declared(part, head)
    if found is None:
        return _read_undeclared(part, head)
    return _with_tail(part, found)


def _read_declared(part: Part, head: bytes) -> FormatReport | None:
    """Read a file that says at its beginning what it is."""
    if safetensors.matches(head):
        return safetensors.read(part)
    if tflite.matches(head):
        return tflite.read(part)
    if executorch.matches(head):
        return executorch.read(part)
    if keras.hdf5_matches(head):
        return keras.read_hdf5(part)
    if arrays.matches(head):
        return arrays.read(part)
    if packing := beside.packing(head):
        return beside.read_packing(part, packing)
    if containers.is_tar(part):
        return containers.read_tar(part, read)
    if machine := beside.native(head):
        return beside.read_native(part, machine)
    return None


def _read_undeclared(part: Part, head: bytes) -> FormatReport:
    if found := _read_message(part, head):
        return _with_tail(part, found)
    if kind := containers.unpacker(head):
        found = containers.read_packed(part, kind, read)
        if not (kind == "zlib" and found.findings and found.findings[0].code in ("packed", "truncated")):
            return found
    report = torch_legacy.read(part)
    declared = head[:1] == b"\x80"
    if report.format != torch_legacy.PICKLE or declared or not torch_legacy.is_noise(part):
        return report
    return _read_other(part, head)


def _read_message(part: Part, head: bytes) -> FormatReport | None:
    """Read a protocol buffer, if the file is one from its first byte to its last."""
    if head[0] not in (0x08, 0x0A, 0x12):
        return None
    fields: dict[int, int] = {}
    try:
        for field in Message(part.file, 0, part.size).fields():
            fields[field.number] = field.wire
            if len(fields) > 64:
                return None
    except UncleanError:
        if not ({1, 7} <= fields.keys() or fields.keys() == {1, 2}):
            return None
        if head[0] == 0x08 and onnx.matches(fields | {8: 2}):
            return onnx.read(part)
        return None
    if onnx.matches(fields):
        return onnx.read(part)
    if coreml.matches(fields):
        return coreml.read(part)
    if tensorflow.saved_matches(fields):
        return tensorflow.read_saved(part)
    return tensorflow.read_frozen(part) if tensorflow.frozen_matches(part, fields) else None


def _read_archive(part: Part) -> FormatReport:
    try:
        archive = Archive(part.file, part.size, folders=True)
    except UncleanError as error:
        return FormatReport(format="zip", findings=(replace(error.finding, where=error.finding.where or part.where),))
    for matches, reader in _ARCHIVES:
        if matches(archive):
            return reader(archive, part)
    return containers.read_zip(archive, part, read)


def _read_other(part: Part, head: bytes) -> FormatReport:
    """Read what is no model of a known format: XML, texts and pictures, which may lie beside one."""
    if openvino.is_xml(head):
        found = openvino.read(part)
        if found.format == openvino.NAME or found.findings:
            return found
    if tensorflow.text_matches(head):
        return tensorflow.read_text(part)
    if beside.is_picture(head):
        found = _with_tail(part, FormatReport(format=beside.PICTURE, model=False))
    elif beside.is_text(part):
        found = beside.read_text(part)
    else:
        return _unreadable(part, "It is not a checkpoint of any known format.")
    if found.model or part.inside or any(finding.refuses for finding in found.findings):
        return found
    return _unreadable(part, "It is not a checkpoint of any known format.")


def _with_tail(part: Part, found: FormatReport) -> FormatReport:
    """Refuse an archive behind a file of another format: readers that look from the end would open that one."""
    start = max(0, part.size - _MAX_COMMENT - 22)
    tail = part.at(start, part.size - start)
    at = tail.rfind(_END_OF_ZIP)
    while at >= 0:
        comment = int.from_bytes(tail[at + 20 : at + 22], "little")
        if at + 22 + comment == len(tail):
            return _with_archive(part, found, start + at)
        at = tail.rfind(_END_OF_ZIP, 0, at)
    return found


def _with_archive(part: Part, found: FormatReport, end: int) -> FormatReport:
    record = part.at(end, 22)
    begin = end - int.from_bytes(record[12:16], "little") - int.from_bytes(record[16:20], "little")
    what = "An archive follows the end of the file, and would be opened in its place."
    finding = Finding(kind="forbidden", where=part.where, what=what, code="appended-archive")
    if found.format == tflite.NAME and 0 < begin < part.size:
        size = part.size - begin
        inner = _read_archive(part.inner(Window(part.file, begin, size), size, "metadata"))
        if not inner.model and not any(item.refuses for item in inner.findings):
            return found
    return replace(found, findings=(*found.findings, finding))


def _unreadable(part: Part, what: str) -> FormatReport:
    return FormatReport(
        format=UNKNOWN, findings=(Finding(kind="damaged", where=part.where, what=what, code="not-a-model"),)
    )
