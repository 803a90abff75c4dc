"""The pointer: which release is live. Two slots, so that a write never touches the slot in effect.

Slot `seq % 2` is overwritten in place and fsynced. A power cut leaves that slot torn, its checksum fails, and the
reader takes the other one. No atomic rename is needed, so this holds on FAT, exFAT and network shares as well; and
because a slot has a fixed size, a switch or a rollback needs no free space. U-Boot keeps its environment the same way.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from wherry.agent.layout import SLOTS, Layout
from wherry.core.codec import document_digest, from_json, to_json
from wherry.core.errors import DocumentError
from wherry.durable import fsync_dir, fsync_file, storage_errors

SLOT_SIZE = 4096
"""Bytes of a slot, filled up with spaces: one page, never longer, never shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """What is live, and what the device goes back to."""

    seq: int = 0
    current: str | None = None
    """Folder name of the live release; None when nothing is installed."""
    previous: str | None = None
    """Folder name of the release before it."""
    trial: bool = False
    """Whether `current` still has to pass its probation."""
    attempts: int = 0
    """How often a rollback to `current` was begun; a restart hook that kills the device is not run for ever."""


def encode_slot(pointer: Pointer) -> bytes:
    """Return the `SLOT_SIZE` bytes that stand for `pointer`."""
    body = asdict(pointer)
    document = {**body, "sha256": document_digest(body)}
    return to_json(document).ljust(SLOT_SIZE)


def decode_slot(data: bytes) -> Pointer | None:
    """Return the pointer in a slot, or None when the slot is empty, torn or changed."""
    try:
        document = from_json(data, dict[str, Any], what="a pointer slot")
        wanted = document.pop("sha256", None)
        pointer = from_json(to_json(document), Pointer, what="a pointer slot")
    except (DocumentError, RecursionError):
        return None
    return pointer if wanted == document_digest(document) else None


def read_pointer(layout: Layout) -> Pointer | None:
    """Return the pointer in effect, or None when neither slot holds a valid one.

    Raises:
        StorageError: a slot cannot be read at all.
    """
    found = [decode_slot(data) for slot in range(SLOTS) if (data := _read(layout, slot)) is not None]
    return max((pointer for pointer in found if pointer is not None), key=lambda pointer: pointer.seq, default=None)


def write_pointer(layout: Layout, pointer: Pointer) -> Pointer:
    """Make `pointer` the one in effect, under the next sequence number, and return it as written.

    Raises:
        StorageError: the slot cannot be written; the old pointer is still in effect.
    """
    before = read_pointer(layout)
    written = replace(pointer, seq=before.seq + 1 if before else 0)
    _write(layout, written.seq % SLOTS, encode_slot(written))
    return written


def create_slots(layout: Layout) -> None:
    """Take the space of both slots now, so that no later switch can fail for lack of it. Keeps a valid pointer."""
    if read_pointer(layout) is not None:
        return
    _write(layout, 1, b" " * SLOT_SIZE)
    write_pointer(layout, Pointer())


def _read(layout: Layout, slot: int) -> bytes | None:
    with storage_errors(layout.pointer(slot)):
        try:
            return layout.pointer(slot).read_bytes()
        except FileNotFoundError:
            return None


def _write(layout: Layout, slot: int, data: bytes) -> None:
    path = layout.pointer(slot)
    with storage_errors(path):
        existed = path.exists()
        with path.open("r+b" if existed else "wb", buffering=0) as file:
            file.write(data)
            fsync_file(file.fileno())
        if not existed:
            fsync_dir(path.parent)
