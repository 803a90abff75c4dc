"""TensorFlow: SavedModel and frozen graphs, and the operators in them that touch files, processes or Python.

Field numbers: `tensorflow/core/protobuf/{saved_model,meta_graph}.proto`, `tensorflow/core/framework/{graph,node_def,
function}.proto`. The operators are those of `tensorflow/core/ops/{io_ops,script_ops,dataset_ops,...}.cc` that do more
than compute.
"""

import re
from collections.abc import Callable

from wherry.checkpoint.findings import FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.parts import Part
from wherry.checkpoint.protobuf import BYTES, VARINT, Message

SAVED, FROZEN = "tensorflow", "tensorflow-graph"
ACTS = frozenset(
    {
        "ReadFile",
        "WriteFile",
        "MatchingFiles",
        "DeleteFile",
        "CopyFile",
        "RenameFile",
        "PyFunc",
        "PyFuncStateless",
        "EagerPyFunc",
        "PyClientCall",
        "GeneratorDataset",
        "WholeFileReader",
        "WholeFileReaderV2",
        "TextLineReader",
        "TextLineReaderV2",
        "TFRecordReader",
        "TFRecordReaderV2",
        "FixedLengthRecordReader",
        "IdentityReader",
        "FixedLengthRecordReaderV2",
        "TextLineDataset",
        "TFRecordDataset",
        "FixedLengthRecordDataset",
        "SaveDataset",
        "FixedLengthRecordDatasetV2",
        "LoadDataset",
        "LoadDatasetV2",
        "SaveDatasetV2",
        "SnapshotDataset",
        "CSVDataset",
        "SnapshotDatasetV2",
        "SnapshotDatasetReader",
        "CSVDatasetV2",
        "SqlDataset",
        "LMDBDataset",
        "LMDBReader",
        "CacheDataset",
        "CacheDatasetV2",
        "DebugIdentity",
        "DebugIdentityV2",
        "DebugIdentityV3",
        "PrintV2",
        "LogOp",
        "RemoteCall",
        "RpcCall",
        "RpcClient",
        "RpcServer",
        "CreateSummaryFileWriter",
        "CreateSummaryDbWriter",
        "ImportEvent",
        "WriteGraphSummary",
        "DataServiceDataset",
        "RegisterDataset",
        "BigtableClient",
        "CloudBigtable",
        "ShellExecute",
        "SaveSlices",
        "Save",
        "MlirPassthroughOp",
        "XlaLaunch",
        "TPUCompile",
        "LoadLibrary",
    }
)
"""Operators that no trained network needs and that read, write, call out or run Python."""
_TEXT_OPERATOR = re.compile(rb'\bop:\s*"(\w+)"')


def saved_matches(fields: dict[int, int]) -> bool:
    """Return whether the outermost fields are those of a SavedModel."""
    return fields == {1: VARINT, 2: BYTES}


def frozen_matches(part: Part, fields: dict[int, int]) -> bool:
    """Return whether the outermost fields are those of a graph whose first node has a name and an operator."""
    kinds = {1: BYTES, 2: BYTES, 3: VARINT, 4: BYTES, 5: BYTES}
    if fields.get(1) != BYTES or any(kinds.get(number) != kind for number, kind in fields.items()):
        return False
    message = Message(part.file, 0, part.size)
    try:
        first = next(field for field in message.fields() if field.number == 1)
        name, operator = message.child(first).texts(1, 2)
    except (UncleanError, StopIteration):
        return False
    return bool(re.fullmatch(r"[\w./>\-]+", name) and re.fullmatch(r"[A-Za-z_]\w*(>\w+)*", operator))


def text_matches(head: bytes) -> bool:
    """Return whether the text is a SavedModel in the text form of protocol buffers."""
    return bool(re.match(rb"\s*(#[^\n]*\n\s*)*saved_model_schema_version\s*:", head))


def read_saved(part: Part) -> FormatReport:
    """Walk through every graph of a SavedModel."""
    return _read(part, SAVED, _saved)


def read_frozen(part: Part) -> FormatReport:
    """Walk through a graph."""
    return _read(part, FROZEN, _graph)


def read_text(part: Part) -> FormatReport:
    """Look for operators in the text form."""
    try:
        for operator in _TEXT_OPERATOR.findall(part.whole(64 << 20)):
            _check(operator.decode(), part)
    except UncleanError as error:
        return FormatReport(format=SAVED, findings=(error.finding,))
    return FormatReport(format=SAVED)


def _read(part: Part, name: str, walk: Callable[[Message, Part], None]) -> FormatReport:
    try:
        walk(Message(part.file, 0, part.size), part)
    except UncleanError as error:
        return FormatReport(format=name, findings=(error.finding,))
    references = ("variables/variables.data-00000-of-00001", "variables/variables.index") if name == SAVED else ()
    return FormatReport(format=name, references=references)


def _saved(message: Message, part: Part) -> None:
    for field in message.fields():
        if field.number != 2:
            continue
        meta = message.child(field)
        for inner in meta.fields():
            if inner.number == 2 and inner.wire == BYTES:
                _graph(meta.child(inner), part)


def _graph(message: Message, part: Part) -> None:
    for field in message.fields():
        if field.wire != BYTES:
            continue
        if field.number == 1:
            _node(message.child(field), part)
        elif field.number == 2:
            _library(message.child(field), part)


def _library(message: Message, part: Part) -> None:
    for field in message.fields():
        if field.number != 1 or field.wire != BYTES:
            continue
        function = message.child(field)
        for inner in function.fields():
            if inner.number == 3 and inner.wire == BYTES:
                _node(function.child(inner), part)


def _node(message: Message, part: Part) -> None:
    _check(message.texts(2)[0], part)


def _check(operator: str, part: Part) -> None:
    if operator in ACTS:
        msg = f"Its graph has the operator {operator}, which touches files, other programs or Python."
        raise forbidden(msg, where=part.where, code="tensorflow-operator")
    if not operator:
        raise damaged("Its graph has a node without an operator.", where=part.where, code="tensorflow")
