"""CoreML: a model in protocol buffers, and the package around it. It can name weights elsewhere and classes of an app.

Field numbers: https://github.com/apple/coremltools/tree/main/mlmodel/format (BSD-3-Clause).
"""

from typing import Any

from wherry.checkpoint.findings import FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.parts import Part
from wherry.checkpoint.protobuf import BYTES, VARINT, Message
from wherry.checkpoint.references import check_reference

NAME, PACKAGE = "coreml", "coreml-package"
_CUSTOM, _LINKED, _PROGRAM = 555, 556, 502
_NETWORKS = (303, 403, 500)
_PIPELINES = (200, 201, 202)
_CUSTOM_LAYER = 500
_MAX_DEPTH = 48
_HERE = "@model_path/"


def matches(fields: dict[int, int]) -> bool:
    """Return whether the outermost fields are those of a model."""
    return fields.get(1) == VARINT and fields.get(2) == BYTES and any(number >= 200 for number in fields)


def manifest_matches(document: object) -> bool:
    """Return whether a JSON document is the manifest of a package."""
    return isinstance(document, dict) and "itemInfoEntries" in document and "rootModelIdentifier" in document


def read_manifest(part: Part, document: dict[str, Any]) -> FormatReport:
    """Check the paths of a package's manifest."""
    try:
        entries = document["itemInfoEntries"]
        if not isinstance(entries, dict):
            raise damaged("Its list of items is not one.", where=part.where, code="coreml")
        for entry in entries.values():
            path = entry.get("path") if isinstance(entry, dict) else None
            if not isinstance(path, str):
                raise damaged("One of its items has no path.", where=part.where, code="coreml")
            check_reference(path, part)
    except UncleanError as error:
        return FormatReport(format=PACKAGE, findings=(error.finding,))
    return FormatReport(format=PACKAGE)


def read(part: Part) -> FormatReport:
    """Walk through the model."""
    files: set[str] = set()
    try:
        _model(Message(part.file, 0, part.size), part, files, 0)
    except UncleanError as error:
        return FormatReport(format=NAME, findings=(error.finding,))
    return FormatReport(format=NAME, references=tuple(sorted(files)))


def _model(message: Message, part: Part, files: set[str], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise forbidden("Its models lie inside each other too deeply.", where=part.where, code="coreml-depth")
    for field in message.fields():
        if field.number in (_CUSTOM, _LINKED):
            raise forbidden("It is made of code outside the file.", where=part.where, code="coreml-custom")
        if field.wire != BYTES:
            continue
        if field.number in _NETWORKS:
            _network(message.child(field), part)
        elif field.number == _PROGRAM:
            _program(message.child(field), part, files, 0)
        elif field.number in _PIPELINES:
            _pipeline(message.child(field), part, files, depth + 1)


def _pipeline(message: Message, part: Part, files: set[str], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise forbidden("Its models lie inside each other too deeply.", where=part.where, code="coreml-depth")
    for field in message.fields():
        if field.wire != BYTES or field.number != 1:
            continue
        child = message.child(field)
        kinds = {inner.number for inner in child.fields()}
        if kinds == {1} or kinds == {1, 2}:
            _pipeline(child, part, files, depth + 1)
        _model(child, part, files, depth + 1)


def _network(message: Message, part: Part) -> None:
    for field in message.fields():
        if field.wire == BYTES and field.number == 1:
            layer = message.child(field)
            if any(inner.number == _CUSTOM_LAYER for inner in layer.fields()):
                raise forbidden(
                    "It has a custom layer, which is code of an app.", where=part.where, code="coreml-custom"
                )


def _program(message: Message, part: Part, files: set[str], depth: int) -> None:
    """Look for values in files at every depth: field 5 that holds a name (1) and an offset (2), and nothing else."""
    if depth > _MAX_DEPTH:
        return
    for field in message.fields():
        if field.wire != BYTES or field.value < 2:
            continue
        child = message.child(field)
        try:
            kinds = {inner.number: inner.wire for inner in child.fields()}
        except UncleanError:
            continue
        if field.number == 5 and kinds.get(1) == BYTES and set(kinds) <= {1, 2} and kinds.get(2, VARINT) == VARINT:
            _blob(child, part, files)
        _program(child, part, files, depth + 1)


def _blob(message: Message, part: Part, files: set[str]) -> None:
    name = message.texts(1)[0]
    if name.startswith(_HERE):
        inner = name.removeprefix(_HERE)
        if inner not in files:
            files.add(check_reference(inner, part))
    elif name.startswith(("/", "~", "..", "@")) or "../" in name:
        check_reference("/" + name, part)
