"""Reads JSON documents of files that were not trusted yet, without a crash and without duplicate names."""

import json
from collections.abc import Iterator
from typing import Any

from wherry.checkpoint.findings import damaged, forbidden

MAX_JSON = 64 << 20


def parse(raw: bytes, where: str, *, unique: bool = True) -> Any:
    """Return the document.

    Raises:
        UncleanError: it is not JSON, or an object has two entries of one name.
    """

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(found)
        if unique and len(table) != len(found):
            raise forbidden("An object of the JSON document has two entries of one name.", where=where, code="json")
        return table

    try:
        return json.loads(raw.decode(), object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        raise damaged("It is not JSON.", where=where, code="json") from error


def objects(document: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object, without recursion."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
