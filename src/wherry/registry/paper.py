"""What goes into a text column: canonical JSON that reads back as the same value, or an error before it is written."""

import math
from collections.abc import Iterator
from typing import Any, TypeVar

from wherry.core.codec import from_json, to_builtins, to_json
from wherry.core.errors import BadInputError, DocumentError

T = TypeVar("T")


def write_down(value: T, kind: type[T], what: str) -> tuple[T, str]:
    """Return `value` as it will read back, and its canonical JSON text.

    Raises:
        BadInputError: it holds what JSON cannot carry, such as a not-a-number.
    """
    try:
        data = to_json(value)
        # JSON would carry these as null: the number would be lost, or the document could not be read again.
        for path, number in _not_finite(to_builtins(value), "$"):
            msg = f"`{path}` is {number}"
            raise ValueError(msg)
        return from_json(data, kind, what=what), data.decode()
    except (DocumentError, TypeError, ValueError, OverflowError) as error:
        msg = f"{what} cannot be stored as JSON: {str(error).rstrip('.')}."
        raise BadInputError(msg, next_step="Use only text, finite numbers, booleans, lists and mappings.") from error


def read_back(text: str, kind: type[T], what: str) -> T:
    """Return the value that was written down.

    Raises:
        DocumentError: the text does not fit.
    """
    return from_json(text.encode(), kind, what=what)


def _not_finite(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{path}[{index}]")


def check_reason(who: str, why: str) -> None:
    """Refuse history without a name or a reason.

    Raises:
        BadInputError: one of the two is blank.
    """
    if not who.strip():
        msg = "History needs to know who did it."
        raise BadInputError(msg, next_step="Give a name.")
    if not why.strip():
        msg = "History needs to know why it was done."
        raise BadInputError(msg, next_step="Give a reason in a few words.")


def check_limit(limit: int) -> int:
    """Return `limit` if a page of that length makes sense.

    Raises:
        BadInputError: it is smaller than one.
    """
    if limit < 1:
        msg = f"A page of {limit} lines cannot be shown."
        raise BadInputError(msg, next_step="Ask for at least one line.")
    return limit
