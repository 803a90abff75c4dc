"""Reads protocol buffers by their wire format alone, without a schema and without holding long fields.

Wire format: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from wherry.checkpoint.findings import damaged, forbidden
from wherry.checkpoint.opcodes import Source
from wherry.checkpoint.parts import Readable, in_memory

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_IN_MEMORY = 1 << 20
_MAX_TEXT = 1 << 16
MAX_FIELDS = 5_000_000


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    number: int
    wire: int
    value: int
    """The number itself, or the length in bytes."""
    start: int
    """Where its bytes begin."""


class Message:
    """A message in a file: its fields in order."""

    def __init__(self, file: Readable, start: int, size: int, left: list[int] | None = None) -> None:
        """Look at `size` bytes from `start` on; `left` counts the fields that all messages together may have."""
        if size <= _IN_MEMORY and start:
            file.seek(start)
            file, start = in_memory(file.read(size)), 0
        self._file, self._start, self._size = file, start, size
        self._left = [MAX_FIELDS] if left is None else left

    def fields(self) -> Iterator[Field]:
        """Yield every field, the bytes of long ones unread.

        Raises:
            UncleanError: it is not a message, or it ends in the middle of a field.
        """
        source = Source(self._file, self._start + self._size, self._start)
        try:
            while source.left:
                self._left[0] -= 1
                if self._left[0] < 0:
                    raise forbidden("It has more fields than any model.", code="protobuf-limit")
                yield _field(source)
        except EOFError as error:
            raise damaged("It ends in the middle of a field: the file is truncated.", code="truncated") from error

    def child(self, field: Field) -> "Message":
        """Return the message that a field holds."""
        return Message(self._file, field.start, field.value, self._left)

    def text(self, field: Field) -> str:
        """Return the text that a field holds, of at most 65 536 bytes."""
        self._file.seek(field.start)
        return self._file.read(min(field.value, _MAX_TEXT)).decode("utf-8", "backslashreplace")

    def texts(self, *numbers: int) -> list[str]:
        """Return the texts of the fields with these numbers, empty where there is none."""
        found = dict.fromkeys(numbers, "")
        for field in self.fields():
            if field.wire == BYTES and field.number in found:
                found[field.number] = self.text(field)
        return list(found.values())


def _field(source: Source) -> Field:
    key = _varint(source)
    number, wire = key >> 3, key & 7
    if number == 0:
        raise damaged("It has a field without a number.", code="protobuf")
    if wire == VARINT:
        return Field(number, wire, _varint(source), source.position)
    lengths = {FIXED64: 8, FIXED32: 4}
    if wire != BYTES and wire not in lengths:
        raise damaged("It has a field of an unknown kind.", code="protobuf")
    length = _varint(source) if wire == BYTES else lengths[wire]
    start = source.position
    source.skip(length)
    return Field(number, wire, length, start)


def _varint(source: Source) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = source.byte()
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise damaged("It has a number of more than 64 bits.", code="protobuf")
