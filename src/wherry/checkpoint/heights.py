"""How opcodes move the height of the stack: enough to say where every reader of a pickle would break off."""

import re
from typing import Any

_NUMBER = re.compile(r"[+-]?(\d+L?|0x[0-9a-fA-F]+|(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|nan)")
_LINES = frozenset({"INT", "LONG", "FLOAT", "GET", "PUT"})
_TAKES = {
    "POP": (1, 0),
    "DUP": (1, 2),
    "TUPLE1": (1, 1),
    "TUPLE2": (2, 1),
    "TUPLE3": (3, 1),
    "APPEND": (2, 1),
    "SETITEM": (3, 1),
    "STACK_GLOBAL": (2, 1),
    "BINPERSID": (1, 1),
    "PUT": (1, 1),
    "BINPUT": (1, 1),
    "LONG_BINPUT": (1, 1),
    "MEMOIZE": (1, 1),
    "READONLY_BUFFER": (1, 1),
    "PROTO": (0, 0),
    "FRAME": (0, 0),
}
"""How many values an opcode takes off the stack, and how many it puts there."""
_CLOSES = {"TUPLE": 1, "LIST": 1, "DICT": 1, "FROZENSET": 1, "POP_MARK": 0, "APPENDS": 0, "SETITEMS": 0, "ADDITEMS": 0}


def move(heights: list[int], name: str, argument: Any) -> bool:
    """Move the heights, one for each open mark, by an opcode that neither calls nor stops.

    Returns:
        whether a reader could go on.
    """
    if name in _LINES and not _NUMBER.fullmatch(str(argument).strip()):
        return False
    if name == "STRING" and not re.fullmatch(r"\s*(['\"]).*\1\s*", str(argument)):
        return False
    if name == "MARK":
        heights.append(0)
        return True
    if name in _CLOSES:
        if len(heights) < 2:
            return False
        heights.pop()
        heights[-1] += _CLOSES[name]
        return True
    takes, gives = _TAKES.get(name, (0, 1))
    if heights[-1] < takes:
        return False
    heights[-1] += gives - takes
    return True
