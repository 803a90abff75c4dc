"""The one JSON codec: frozen dataclasses in and out, canonical bytes, precise errors.

Promise: `from_json(to_json(x), type(x)) == x`, and equal values give equal bytes (sorted keys, UTF-8, two-space
indent, one final newline), so a document's digest is the digest of its value.
"""

import math
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, TypeVar

import msgspec

from wherry.core.digest import sha256_hex
from wherry.core.errors import DocumentError

T = TypeVar("T")


def to_json(value: object) -> bytes:
    """Return the canonical JSON bytes of a dataclass, mapping, list or scalar.

    Raises:
        DocumentError: a number in it is not finite, which JSON would turn into null, or a field of the dataclass holds
            what its type does not allow.
    """
    for path, number in _not_finite(msgspec.to_builtins(value), "$"):
        msg = f"`{path}` is {number}, which JSON cannot carry."
        raise DocumentError(msg, next_step="Give None where there is no number.")
    data = msgspec.json.encode(value, order="sorted")
    if is_dataclass(value):
        data = _as_read_back(data, type(value))
    return msgspec.json.format(data, indent=2) + b"\n"


def to_builtins(value: object) -> Any:
    """Return `value` as dicts, lists and scalars, as they will stand in the JSON document."""
    return msgspec.json.decode(msgspec.json.encode(value, order="sorted"))


def from_json(data: bytes, kind: type[T], *, what: str, schema: int | None = None) -> T:
    """Decode `data` as `kind`; unknown fields are allowed, a wrong or missing one is an error.

    Args:
        data: the JSON document.
        kind: a dataclass, or any type that msgspec can decode.
        what: the document's name for the reader of an error, such as "the bundle's manifest".
        schema: the schema number that must stand in the document, if it has one.

    Raises:
        DocumentError: not JSON, an unknown schema number, or a field that does not fit; the message holds its path.
    """
    try:
        if schema is not None:
            _check_schema(data, schema, what)
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        msg = f"{what} cannot be read: {error}."
        raise DocumentError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{what} is not UTF-8 text."
        raise DocumentError(msg) from error


def document_digest(value: object) -> str:
    """Return the sha256 of the canonical JSON bytes of `value`."""
    return sha256_hex(to_json(value))


def _as_read_back(data: bytes, kind: type) -> bytes:
    # A document that cannot be read again must not be written, and 1 in a field for 1.0 must not give another digest.
    try:
        return msgspec.json.encode(msgspec.json.decode(data, type=kind), order="sorted")
    except msgspec.ValidationError as error:
        msg = f"This {kind.__name__} cannot be written, because it could not be read again: {error}."
        raise DocumentError(msg, next_step="Give each field what its type allows.") from error


def _not_finite(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{path}[{index}]")


def _check_schema(data: bytes, schema: int, what: str) -> None:
    found = msgspec.json.decode(data, type=dict[str, Any]).get("schema")
    if found != schema:
        msg = f"{what} has schema {found!r}, and this wherry reads schema {schema}."
        raise DocumentError(msg, next_step="Update wherry on this machine, or make the document again.")
