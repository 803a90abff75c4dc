"""The transaction: the state a device is in and what it needs to go on or back, as one small document."""

from dataclasses import dataclass

from wherry.agent.layout import Layout
from wherry.agent.states import State
from wherry.core.codec import from_json, to_json
from wherry.core.errors import DocumentError
from wherry.durable import atomic_write, storage_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A published file that was backed up."""

    original: str
    """Its name in `models/`."""
    backup: str
    """Its name in `backups/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Where an install is. Without one, everything but the state is empty."""

    state: State = State.IDLE
    release: str | None = None
    """Folder name of the release that is being installed, or left by a rollback."""
    number: int = 0
    """Its release counter."""
    manifest_sha256: str = ""
    target: str = ""
    previous: str | None = None
    """The release that was live before, and that the way back leads to; None on a first install."""
    older: str | None = None
    """What stood behind `previous` in the pointer."""
    saved: tuple[Saved, ...] = ()
    restarted: bool = False
    """Whether the application may already have been started with the new release."""
    why: str = ""
    """Of a way back: what led to it."""
    refuse: bool = False
    """Of a way back: whether the release is at fault and must not be tried again."""
    schema: int = 1


def read_transaction(layout: Layout) -> Transaction | None:
    """Return the transaction; None when the file is there and cannot be understood.

    Raises:
        StorageError: the file cannot be read.
    """
    with storage_errors(layout.transaction):
        try:
            data = layout.transaction.read_bytes()
        except FileNotFoundError:
            return Transaction()
    try:
        return from_json(data, Transaction, what=str(layout.transaction), schema=1)
    except DocumentError:
        return None


def write_transaction(layout: Layout, transaction: Transaction) -> None:
    """Persist the transaction.

    Raises:
        StorageError: it could not be written; the one before still stands.
    """
    with storage_errors(layout.transaction):
        atomic_write(layout.transaction, to_json(transaction))
