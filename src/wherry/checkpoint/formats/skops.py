"""skops: an archive of arrays and a JSON document that names the class of every object.

Layout: https://skops.readthedocs.io/en/stable/persistence.html.
"""

import re

from wherry.checkpoint import allowed
from wherry.checkpoint import objects as known
from wherry.checkpoint.archive import Archive
from wherry.checkpoint.documents import MAX_JSON, objects, parse
from wherry.checkpoint.findings import FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.formats import arrays
from wherry.checkpoint.parts import Part

NAME = "skops"
_LOADERS = re.compile(r"[A-Z][A-Za-z]*Node")
_FORBIDDEN_LOADERS = frozenset({"MethodNode", "OperatorFuncNode"})
_PLAIN = re.compile(
    r"builtins (str|int|float|bool|dict|list|tuple|set|frozenset|bytes|bytearray|slice|complex|NoneType|type|object)"
    r"|numpy (ndarray|dtype|generic|bool_?|u?int\d+|float\d+|complex\d+|str_|bytes_|object_|void|datetime64)"
    r"|numpy\.random\._(mt19937|pcg64|philox|sfc64) \w+|numpy\.random\.(mtrand RandomState|_generator Generator)"
    r"|numpy\.ma(\.core)? MaskedArray|numpy\.dtypes \w+DType|collections (OrderedDict|defaultdict)|functools partial"
    r"|scipy\.sparse(\._\w+)? \w+_(matrix|array)|types (NoneType|EllipsisType)"
)


def matches(archive: Archive) -> bool:
    """Return whether the archive is one of `skops.io.dump`."""
    return "schema.json" in archive.members


def read(archive: Archive, part: Part) -> FormatReport:
    """Check the class of every object, and every array."""
    try:
        for name in archive.members:
            inner = archive.part(name, part)
            if name == "schema.json":
                _check_schema(inner)
            elif arrays.matches(inner.head(8)):
                for finding in arrays.read(inner).findings:
                    raise UncleanError(finding.kind, finding.what, where=finding.where, code=finding.code)
            elif inner.head(2) != b"PK" and not name.endswith((".bin", ".bytes")):
                raise forbidden(
                    "The archive has a member that skops does not write.", where=inner.where, code="zip-member"
                )
    except UncleanError as error:
        return FormatReport(format=NAME, findings=(error.finding,))
    return FormatReport(format=NAME)


def _check_schema(part: Part) -> None:
    document = parse(part.whole(MAX_JSON), part.where)
    if not isinstance(document, dict) or "__class__" not in document:
        raise damaged("It describes no object.", where=part.where, code="skops")
    for entry in objects(document):
        if "__class__" in entry or "__module__" in entry or "__loader__" in entry:
            _check(f"{entry.get('__module__')} {entry.get('__class__')}", str(entry.get("__loader__")), part.where)


def _check(name: str, loader: str, where: str) -> None:
    if not _PLAIN.fullmatch(name) and not known.is_known(name) and not allowed.is_allowed(name):
        msg = f"It names {name.replace(' ', '.')[:160]}, which is not on the list of what estimators need."
        raise forbidden(msg, where=where, code="skops-name")
    if not _LOADERS.fullmatch(loader) or loader in _FORBIDDEN_LOADERS:
        msg = f"It is to be loaded by {loader[:60]!r}, which can call any method."
        raise forbidden(msg, where=where, code="skops-loader")
