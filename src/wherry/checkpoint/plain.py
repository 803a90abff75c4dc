"""Keeps what is plain of the facts beside the weights, so that they can stand in a JSON document."""

import math
from collections.abc import Mapping
from typing import Any

MAX_FACTS = 10_000
MAX_DEPTH = 16
MAX_TEXT = 100_000
_DROPPED = object()


def plain_facts(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the numbers, texts, flags, lists and maps of them in `value`; tensors and anything else are left out.

    At most 10 000 values and 16 levels are kept: a few bytes of a checkpoint can name more than a machine can write.
    """
    kept = _plain(value, [MAX_FACTS], 0)
    return kept if isinstance(kept, dict) else {}


def _plain(value: Any, left: list[int], depth: int) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth > MAX_DEPTH:
        return _DROPPED
    if value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, Mapping):
        pairs = ((str(key)[:MAX_TEXT], _plain(item, left, depth + 1)) for key, item in value.items())
        return {key: item for key, item in pairs if item is not _DROPPED}
    if isinstance(value, list | tuple | set):
        items = (_plain(item, left, depth + 1) for item in value)
        return [item for item in items if item is not _DROPPED]
    return _DROPPED
