"""Keras: a configuration that names classes, and weights in HDF5. Lambda layers are code; other names are looked up.

Layout of `.keras`: `keras/src/saving/saving_lib.py`; of the older `.h5`: `keras/src/legacy/saving/legacy_h5_format.py`.
HDF5 itself is not parsed: its bytes are searched for a configuration, which lies in it as plain text.
"""

import re
from typing import Any

from wherry.checkpoint.archive import Archive
from wherry.checkpoint.documents import MAX_JSON, objects, parse
from wherry.checkpoint.findings import FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.parts import CHUNK, Part

NAME, HDF5 = "keras", "hdf5"
_MODULE = re.compile(
    r"(tensorflow\.|tf_)?keras(\.(layers|initializers|regularizers|constraints|optimizers|losses|metrics"
    r"|activations|models|src(\.[a-z_0-9]+)*|engine(\.[a-z_]+)*|optimizers\.(schedules|legacy)|mixed_precision|dtype_policies))?"
)
_CLASS = re.compile(r"[A-Z]\w*")
_CODE = frozenset(
    {"Lambda", "TFOpLambda", "SlicingOpLambda", "PyFunc", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}
)
"""Layers that hold code or load another model."""
_OVERLAP = 4096
_H5_MODULE = re.compile(rb'"module"\s*:\s*"([^"]{0,200})"')
_H5_CLASS = re.compile(rb'"class_name"\s*:\s*"([^"]{0,200})"')
_H5_REGISTERED = re.compile(rb'"registered_name"\s*:\s*"([^"]{0,200})"')


def matches(archive: Archive) -> bool:
    """Return whether the archive is one of `model.save("x.keras")`."""
    return {"config.json", "metadata.json"} <= archive.members.keys()


def hdf5_matches(head: bytes) -> bool:
    """Return whether the file says that it is HDF5."""
    return head.startswith(b"\x89HDF\r\n\x1a\n")


def read(archive: Archive, part: Part) -> FormatReport:
    """Check the configuration, and search the weights as an HDF5 file."""
    try:
        for name in archive.members:
            inner = archive.part(name, part)
            if name in ("config.json", "metadata.json"):
                _check_config(parse(inner.whole(MAX_JSON), inner.where), inner.where)
            elif hdf5_matches(inner.head(8)):
                _search(inner)
            elif not name.startswith("assets/") and name != "model.weights.npz":
                raise forbidden(
                    "The archive has a member that Keras does not write.", where=inner.where, code="zip-member"
                )
    except UncleanError as error:
        return FormatReport(format=NAME, findings=(error.finding,))
    return FormatReport(format=NAME)


def read_hdf5(part: Part) -> FormatReport:
    """Search for a configuration from the first byte to the last."""
    try:
        found = _search(part)
    except UncleanError as error:
        return FormatReport(format=NAME, findings=(error.finding,))
    return FormatReport(format=NAME if found else HDF5)


def config_matches(document: object) -> bool:
    """Return whether a JSON document is the configuration of a model."""
    return isinstance(document, dict) and isinstance(document.get("class_name"), str) and "config" in document


def read_config(part: Part, document: Any) -> FormatReport:
    """Check a configuration that lies in a file of its own."""
    try:
        _check_config(document, part.where)
    except UncleanError as error:
        return FormatReport(format=NAME, findings=(error.finding,))
    return FormatReport(format=NAME)


def _check_config(document: Any, where: str) -> None:
    for entry in objects(document):
        kind = entry.get("class_name")
        if kind is None:
            continue
        if not isinstance(kind, str):
            raise damaged("A class of the configuration has no name.", where=where, code="keras")
        _check_class(kind, where)
        _check_module(entry.get("module"), where)
        _check_registered(entry.get("registered_name"), kind, where)


def _check_class(kind: str, where: str) -> None:
    if kind.rpartition(">")[2] in _CODE:
        msg = f"It has a {kind[:60]} layer, which is code or loads another model."
        raise forbidden(msg, where=where, code="keras-lambda")
    if not _CLASS.fullmatch(kind) and kind not in ("__tuple__", "__numpy__", "__tensor__"):
        msg = f"Its configuration names the function or path {kind[:60]!r}."
        raise forbidden(msg, where=where, code="keras-name")


def _check_module(module: object, where: str) -> None:
    if module is None or (isinstance(module, str) and _MODULE.fullmatch(module)):
        return
    msg = f"Its configuration names the module {str(module)[:60]!r}, which is not one of Keras."
    raise forbidden(msg, where=where, code="keras-name")


def _check_registered(name: object, kind: str, where: str) -> None:
    if name is None or name == kind or (isinstance(name, str) and name.startswith("keras")):
        return
    msg = f"Its configuration names {str(name)[:60]!r}, which was registered by other code."
    raise forbidden(msg, where=where, code="keras-name")


def _search(part: Part) -> bool:
    """Search the bytes in overlapping pieces; returns whether there was a configuration."""
    found, position, tail = False, 0, b""
    part.file.seek(0)
    while piece := part.file.read(CHUNK):
        text = tail + piece
        if b'"class_name"' in text or b'"module"' in text or b'"registered_name"' in text:
            found = True
            _check_text(text, part.where)
        tail, position = text[-_OVERLAP:], position + len(piece)
        part.file.seek(position)
    return found


def _check_text(text: bytes, where: str) -> None:
    for kind in _H5_CLASS.findall(text):
        _check_class(kind.decode("utf-8", "backslashreplace"), where)
    for module in _H5_MODULE.findall(text):
        _check_module(module.decode("utf-8", "backslashreplace"), where)
    for name in _H5_REGISTERED.findall(text):
        text_name = name.decode("utf-8", "backslashreplace")
        _check_registered(text_name, text_name if _CLASS.fullmatch(text_name) else "", where)
