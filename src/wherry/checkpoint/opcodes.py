"""Cuts a pickle stream into its opcodes, from an open file, without holding more than a few of its bytes.

The opcodes and the lengths of their arguments: `pickletools.py` of CPython 3.14 (protocols 0 to 5). Written anew
because that one holds every argument in memory, however long it is.
"""

import struct
from collections.abc import Iterator
from typing import Any

from wherry.checkpoint.findings import UncleanError, damaged, forbidden
from wherry.checkpoint.parts import Readable

MAX_KEPT = 1 << 16
_MAX_LINE = 1 << 16
_MAX_INTEGER = 64
_BLOCK = 1 << 16

Opcode = tuple[str, Any, int]


class Blob:
    """A text or bytes too long to be kept; only its length is known."""

    __slots__ = ("length", "text")

    def __init__(self, length: int, *, text: bool) -> None:
        """Keep the length in bytes."""
        self.length, self.text = length, text


class Source:
    """A file that is read forwards, in blocks."""

    def __init__(self, file: Readable, size: int, start: int = 0) -> None:
        """Begin at `start` of a file of `size` bytes."""
        self._file, self._size = file, size
        self._block, self._base, self._next = b"", start, 0

    @property
    def position(self) -> int:
        """Offset of the next byte."""
        return self._base + self._next

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return self._size - self.position

    def take(self, count: int) -> bytes:
        """Return exactly `count` bytes, or raise EOFError."""
        end = self._next + count
        if end > len(self._block):
            if count > self.left:
                raise EOFError
            self._refill(count)
            end = count
        found = self._block[self._next : end]
        if len(found) != count:
            raise EOFError
        self._next = end
        return found

    def byte(self) -> int:
        """Return the next byte, or raise EOFError."""
        if self._next >= len(self._block):
            self._refill(1)
            if not self._block:
                raise EOFError
        value = self._block[self._next]
        self._next += 1
        return value

    def skip(self, count: int) -> None:
        """Pass over `count` bytes, or raise EOFError."""
        if count > self.left:
            raise EOFError
        if self._next + count <= len(self._block):
            self._next += count
        else:
            self._base, self._block, self._next = self.position + count, b"", 0

    def line(self) -> str:
        """Return the text up to the next line feed, which is passed over."""
        while (found := self._block.find(b"\n", self._next)) < 0:
            if len(self._block) - self._next >= _MAX_LINE or len(self._block) - self._next >= self.left:
                raise EOFError
            self._refill(2 * _MAX_LINE)
        raw = self._block[self._next : found]
        self._next = found + 1
        return raw.decode("utf-8", "backslashreplace")

    def _refill(self, count: int) -> None:
        self._base, self._next = self.position, 0
        self._file.seek(self._base)
        self._block = self._file.read(min(max(count, _BLOCK), max(0, self._size - self._base)))


def opcodes(source: Source, where: str) -> Iterator[Opcode]:
    """Yield name, argument and offset of each opcode, STOP included.

    Raises:
        UncleanError: a byte is no opcode, an argument is not what it must be, or the bytes end.
    """
    try:
        while True:
            position = source.position
            code = source.byte()
            entry = _PLAIN.get(code)
            if entry is not None:
                yield entry, None, position
                if code == 0x2E:
                    return
                continue
            reader = _READERS.get(code)
            if reader is None:
                msg = f"The pickle stream ends or breaks before its STOP (byte {code:#04x} is no opcode)."
                raise damaged(msg, where=where, code="pickle-broken")
            name, kind = reader
            yield name, _argument(source, kind), position
    except EOFError as error:
        msg = "The pickle stream ends or breaks before its STOP (the bytes end)."
        raise damaged(msg, where=where, code="pickle-broken") from error
    except (ValueError, struct.error) as error:
        msg = f"The pickle stream ends or breaks before its STOP ({str(error)[:120]})."
        raise damaged(msg, where=where, code="pickle-broken") from error
    except UncleanError as error:
        raise UncleanError(
            error.finding.kind, error.finding.what, where=error.finding.where or where, code=error.finding.code
        ) from error


def _argument(source: Source, kind: str) -> Any:
    if kind in _FIXED:
        layout = _FIXED[kind]
        return layout.unpack(source.take(layout.size))[0]
    if kind == "line":
        return source.line()
    if kind == "lines":
        return source.line(), source.line()
    width, what = int(kind[0]), kind[1:]
    length = int.from_bytes(source.take(width), "little")
    if what == "long":
        return _integer(source, length)
    if length > MAX_KEPT:
        source.skip(length)
        return Blob(length, text=what == "text")
    raw = source.take(length)
    if what == "text":
        return raw.decode("utf-8", "surrogatepass")
    return raw.decode("ascii", "backslashreplace") if what == "string" else raw


def _integer(source: Source, length: int) -> int:
    if length > _MAX_INTEGER:
        raise forbidden("The pickle stream holds an integer of more than 512 bits.", code="pickle-limit")
    return int.from_bytes(source.take(length), "little", signed=True)


_FIXED = {
    "int4": struct.Struct("<i"),
    "uint1": struct.Struct("<B"),
    "uint2": struct.Struct("<H"),
    "uint4": struct.Struct("<I"),
    "uint8": struct.Struct("<Q"),
    "float": struct.Struct(">d"),
}

_PLAIN: dict[int, str] = {
    ord(code): name
    for code, name in {
        "(": "MARK",
        ".": "STOP",
        "0": "POP",
        "1": "POP_MARK",
        "2": "DUP",
        "N": "NONE",
        "Q": "BINPERSID",
        "R": "REDUCE",
        "a": "APPEND",
        "b": "BUILD",
        "d": "DICT",
        "}": "EMPTY_DICT",
        "e": "APPENDS",
        "l": "LIST",
        "]": "EMPTY_LIST",
        "o": "OBJ",
        "s": "SETITEM",
        "t": "TUPLE",
        ")": "EMPTY_TUPLE",
        "u": "SETITEMS",
        "\x81": "NEWOBJ",
        "\x85": "TUPLE1",
        "\x86": "TUPLE2",
        "\x87": "TUPLE3",
        "\x88": "NEWTRUE",
        "\x89": "NEWFALSE",
        "\x8f": "EMPTY_SET",
        "\x90": "ADDITEMS",
        "\x91": "FROZENSET",
        "\x92": "NEWOBJ_EX",
        "\x93": "STACK_GLOBAL",
        "\x94": "MEMOIZE",
        "\x97": "NEXT_BUFFER",
        "\x98": "READONLY_BUFFER",
    }.items()
}

_READERS: dict[int, tuple[str, str]] = {
    ord(code): (name, kind)
    for code, name, kind in (
        ("F", "FLOAT", "line"),
        ("I", "INT", "line"),
        ("J", "BININT", "int4"),
        ("K", "BININT1", "uint1"),
        ("L", "LONG", "line"),
        ("M", "BININT2", "uint2"),
        ("P", "PERSID", "line"),
        ("S", "STRING", "line"),
        ("T", "BINSTRING", "4string"),
        ("U", "SHORT_BINSTRING", "1string"),
        ("V", "UNICODE", "line"),
        ("X", "BINUNICODE", "4text"),
        ("B", "BINBYTES", "4bytes"),
        ("C", "SHORT_BINBYTES", "1bytes"),
        ("G", "BINFLOAT", "float"),
        ("c", "GLOBAL", "lines"),
        ("g", "GET", "line"),
        ("h", "BINGET", "uint1"),
        ("i", "INST", "lines"),
        ("j", "LONG_BINGET", "uint4"),
        ("p", "PUT", "line"),
        ("q", "BINPUT", "uint1"),
        ("r", "LONG_BINPUT", "uint4"),
        ("\x80", "PROTO", "uint1"),
        ("\x82", "EXT1", "uint1"),
        ("\x83", "EXT2", "uint2"),
        ("\x84", "EXT4", "int4"),
        ("\x8a", "LONG1", "1long"),
        ("\x8b", "LONG4", "4long"),
        ("\x8c", "SHORT_BINUNICODE", "1text"),
        ("\x8d", "BINUNICODE8", "8text"),
        ("\x8e", "BINBYTES8", "8bytes"),
        ("\x95", "FRAME", "uint8"),
        ("\x96", "BYTEARRAY8", "8bytes"),
    )
}
