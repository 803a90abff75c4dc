"""Reads FlatBuffers by their layout alone: tables, vectors, texts. https://flatbuffers.dev/internals/."""

from collections.abc import Iterator

from wherry.checkpoint.findings import damaged, forbidden
from wherry.checkpoint.parts import Part

MAX_ITEMS = 1_000_000
_MAX_TEXT = 1 << 16


class Table:
    """A table at a place of a file."""

    def __init__(self, part: Part, at: int) -> None:
        """Look up the places of its fields."""
        self._part, self._at = part, at
        fields = at - int.from_bytes(part.at(at, 4), "little", signed=True)
        if fields < 0:
            raise damaged("A table lies before the file's beginning.", where=part.where, code="flatbuffer")
        size = int.from_bytes(part.at(fields, 2), "little")
        if size < 4 or size % 2:
            raise damaged("A table has no list of fields.", where=part.where, code="flatbuffer")
        raw = part.at(fields + 4, size - 4)
        self._offsets = [int.from_bytes(raw[place : place + 2], "little") for place in range(0, len(raw), 2)]

    def place(self, field: int) -> int | None:
        """Return where a field's value lies, or None where the field is absent."""
        offset = self._offsets[field] if field < len(self._offsets) else 0
        return self._at + offset if offset else None

    def number(self, field: int, size: int, *, default: int = 0, signed: bool = False) -> int:
        """Return a number of `size` bytes."""
        place = self.place(field)
        return default if place is None else int.from_bytes(self._part.at(place, size), "little", signed=signed)

    def text(self, field: int) -> str:
        """Return a text, empty where it is absent."""
        place = self.place(field)
        if place is None:
            return ""
        start = place + _offset(self._part, place)
        length = _offset(self._part, start)
        return self._part.at(start + 4, min(length, _MAX_TEXT)).decode("utf-8", "backslashreplace")

    def tables(self, field: int) -> Iterator["Table"]:
        """Yield the tables of a vector, none where it is absent."""
        place = self.place(field)
        if place is None:
            return
        start = place + _offset(self._part, place)
        count = _offset(self._part, start)
        if count > MAX_ITEMS or start + 4 + 4 * count > self._part.size:
            raise forbidden("A list is longer than its file.", where=self._part.where, code="flatbuffer")
        for index in range(count):
            item = start + 4 + 4 * index
            yield Table(self._part, item + _offset(self._part, item))


def root(part: Part) -> Table:
    """Return the outermost table.

    Raises:
        UncleanError: it lies beyond the file's end.
    """
    return Table(part, _offset(part, 0))


def _offset(part: Part, at: int) -> int:
    return int.from_bytes(part.at(at, 4), "little")
