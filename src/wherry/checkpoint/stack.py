"""The stack and the memo of the abstract machine that reads pickle streams."""

from collections.abc import Callable
from typing import Any

from wherry.checkpoint.findings import damaged, forbidden
from wherry.checkpoint.values import Mark, Opaque, is_key

MAX_MEMO = 1_000_000


class Stack:
    """What opcodes work on, whatever it is that they build."""

    def __init__(self, where: str) -> None:
        """Start with an empty stack and memo."""
        self.where = where
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._count = 0

    def pop(self) -> Any:
        """Take the top of the stack."""
        if not self._stack:
            raise damaged("The pickle stream takes from an empty stack.", where=self.where, code="pickle-broken")
        value = self._stack.pop()
        if isinstance(value, Mark):
            raise damaged("The pickle stream takes a mark for a value.", where=self.where, code="pickle-broken")
        return value

    def _top(self) -> Any:
        if not self._stack:
            raise damaged("The pickle stream looks at an empty stack.", code="pickle-broken")
        if isinstance(self._stack[-1], Mark):
            raise damaged("The pickle stream takes a mark for a value.", code="pickle-broken")
        return self._stack[-1]

    def _pop_mark(self) -> list[Any]:
        for index in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[index], Mark):
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise damaged("The pickle stream closes a mark that it did not set.", code="pickle-broken")

    def _tuple(self, size: int) -> None:
        if len(self._stack) < size or any(isinstance(item, Mark) for item in self._stack[-size:]):
            raise damaged("The pickle stream makes a tuple of too few things.", code="pickle-broken")
        self._stack[-size:] = [tuple(self._stack[-size:])]

    def _append(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Opaque):
            return
        if not isinstance(target, list):
            raise forbidden("The pickle stream appends to something that is not a list.", code="pickle-state")
        target.extend(items)

    def _add_items(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, set) or not all(map(is_key, items)):
            raise forbidden("The pickle stream adds to something that is not a set.", code="pickle-state")
        target.update(items)

    def _frozen(self, items: list[Any]) -> None:
        if not all(map(is_key, items)):
            raise forbidden("A set holds something else than plain values.", code="pickle-state")
        self._stack.append(frozenset(items))

    def _put(self, index: int) -> None:
        if index > self._count or len(self._memo) >= MAX_MEMO:
            raise forbidden("The pickle stream reserves memo places that it does not use.", code="pickle-limit")
        self._memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise damaged("The pickle stream reads a memo place that it did not write.", code="pickle-broken")
        self._stack.append(self._memo[index])


LITERALS = frozenset(
    {
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
    }
)

"""Opcodes that put their argument onto the stack."""

FURTHER = frozenset({"ADDITEMS", "FROZENSET", "BYTEARRAY8", "BINBYTES8", "BINUNICODE8", "LONG4"})
"""Opcodes that only objects need."""

CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "MARK": Mark,
}
"""Opcodes that put something new onto the stack."""
