"""What goes into a text column: canonical JSON that reads back as the same value, or an error before it is written."""

from typing import TypeVar

from wherry.core.codec import from_json, to_json
from wherry.core.errors import BadInputError, DocumentError

T = TypeVar("T")


def write_down(value: T, kind: type[T], what: str) -> tuple[T, str]:
    """Return `value` as it will read back, and its canonical JSON text.

    Raises:
        BadInputError: it holds what JSON cannot carry, such as a not-a-number.
    """
    try:
        data = to_json(value)
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
