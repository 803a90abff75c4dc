"""Plugin families: a table of import strings, so that listing a family imports nothing and a member only itself."""

import importlib
from collections.abc import Mapping
from typing import Any

from wherry.core.errors import NotFoundError, WherryError


def look_up(
    table: Mapping[str, str],
    name: str,
    what: str,
    *,
    next_step: str | None = None,
    error: type[WherryError] = NotFoundError,
) -> Any:
    """Return the member that the table names as `package.module:attribute`; imports that module and no other.

    Args:
        table: the family.
        name: the member's name.
        what: what a member is, for the reader of an error: `engine`.
        next_step: of the error; by default the names that exist.
        error: what to raise.

    Raises:
        NotFoundError: no such member, or `error` in its place.
    """
    if name not in table:
        msg = f"There is no {what} {name!r}."
        raise error(msg, next_step=next_step or f"Use one of {', '.join(table)}.")
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
