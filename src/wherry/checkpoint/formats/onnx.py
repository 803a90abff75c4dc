"""ONNX: a graph in protocol buffers; it can name files beside it, and operators that run Python.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (Apache-2.0).
"""

from wherry.checkpoint.findings import Finding, FormatReport, UncleanError, forbidden
from wherry.checkpoint.parts import Part
from wherry.checkpoint.protobuf import BYTES, VARINT, Field, Message
from wherry.checkpoint.references import check_reference

NAME = "onnx"
_GRAPH, _OPSETS, _FUNCTIONS, _TRAINING = 7, 8, 25, 20
_MAX_DEPTH = 32
_KNOWN_DOMAINS = (
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.microsoft.experimental",
    "com.ms.internal.nhwc",
    "org.openvinotoolkit",
    "org.pytorch.aten",
)
_RUNS_CODE = frozenset({"PyOp", "PythonOp", "PythonOpGrad", "PyCustomOp", "PyFunc", "EPContext", "ATen", "ATenOp"})


def matches(fields: dict[int, int]) -> bool:
    """Return whether the outermost fields, number to kind, are those of a model."""
    return fields.get(1) == VARINT and fields.get(_GRAPH) == BYTES and fields.get(_OPSETS) == BYTES


def read(part: Part) -> FormatReport:
    """Walk through every graph and look at what it names."""
    walk = _Walk(part)
    try:
        walk.model(Message(part.file, 0, part.size))
    except UncleanError as error:
        return FormatReport(format=NAME, findings=(error.finding,))
    unknown = sorted(walk.domains - walk.own - set(_KNOWN_DOMAINS))
    what = f"It needs custom operators of {', '.join(unknown)[:120]}, which come from a library."
    warnings = (Finding(kind="warning", where=part.where, what=what, code="onnx-custom"),) if unknown else ()
    return FormatReport(format=NAME, findings=warnings, references=tuple(sorted(walk.files)))


class _Walk:
    """One walk through a model."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.files: set[str] = set()
        self.domains: set[str] = set()
        self.own: set[str] = set()

    def model(self, message: Message) -> None:
        for field in message.fields():
            if field.wire != BYTES:
                continue
            if field.number == _GRAPH:
                self.graph(message.child(field), 0)
            elif field.number == _FUNCTIONS:
                self.function(message.child(field))
            elif field.number == _TRAINING:
                training = message.child(field)
                for inner in training.fields():
                    if inner.wire == BYTES and inner.number in (1, 2):
                        self.graph(training.child(inner), 0)

    def function(self, message: Message) -> None:
        for field in message.fields():
            if field.wire == BYTES and field.number == 7:
                self.node(message.child(field), 0)
            elif field.wire == BYTES and field.number == 10:
                self.own.add(message.text(field))

    def graph(self, message: Message, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise forbidden("Its graphs lie inside each other too deeply.", where=self.part.where, code="onnx-depth")
        for field in message.fields():
            if field.wire != BYTES:
                continue
            if field.number == 1:
                self.node(message.child(field), depth)
            elif field.number == 5:
                self.tensor(message.child(field))
            elif field.number == 15:
                self.sparse(message.child(field))

    def node(self, message: Message, depth: int) -> None:
        operator, domain = "", ""
        for field in message.fields():
            if field.wire == BYTES and field.number == 4:
                operator = message.text(field)
            elif field.wire == BYTES and field.number == 7:
                domain = message.text(field)
            elif field.wire == BYTES and field.number == 5:
                self.attribute(message.child(field), depth)
        self.domains.add(domain)
        if (operator in _RUNS_CODE and domain not in self.own) or domain == "ai.onnx.contrib":
            msg = f"Its graph has the operator {domain or 'ai.onnx'}.{operator[:60]}, which runs code."
            raise forbidden(msg, where=self.part.where, code="onnx-operator")

    def attribute(self, message: Message, depth: int) -> None:
        for field in message.fields():
            if field.wire != BYTES:
                continue
            if field.number in (5, 10):
                self.tensor(message.child(field))
            elif field.number in (6, 11):
                self.graph(message.child(field), depth + 1)
            elif field.number in (22, 23):
                self.sparse(message.child(field))

    def sparse(self, message: Message) -> None:
        for field in message.fields():
            if field.wire == BYTES and field.number in (1, 2):
                self.tensor(message.child(field))

    def tensor(self, message: Message) -> None:
        for field in message.fields():
            if field.wire == BYTES and field.number == 13:
                self.external(message, field)

    def external(self, message: Message, field: Field) -> None:
        key, value = message.child(field).texts(1, 2)
        if key == "location" and value not in self.files:
            self.files.add(check_reference(value, self.part))
