"""Runs python-tuf's client over the metadata inside a bundle, in a scratch folder, and narrows its errors.

The scratch folder matters: python-tuf persists as it goes and without syncing; here nothing reaches the device's state
before everything has been accepted. What was accepted comes back as bytes.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater

from wherry.bundle.container import BundleReader
from wherry.bundle.layout import METADATA
from wherry.bundle.trust.highwater import RoleMark
from wherry.core.errors import BundleError, ExpiredError, RollbackError, SignatureError
from wherry.durable import storage_errors

CACHED = ("timestamp.json", "snapshot.json", "targets.json")
_BASE = "bundle:/"
_NOT_FOUND = 404
_LIMIT = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """Metadata that was accepted."""

    root: bytes
    cached: dict[str, bytes]
    """The other three roles' documents by file name."""
    roles: dict[str, RoleMark]
    expires: datetime
    """The earliest expiry of the four."""
    targets: dict[str, TargetFile]


class _BundleFetcher(FetcherInterface):
    """Gives python-tuf the members of a bundle instead of a web server's files."""

    def __init__(self, reader: BundleReader) -> None:
        self._reader = reader

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = f"{METADATA}/{url.removeprefix(_BASE)}"
        if name not in self._reader.sizes():
            msg = f"{name} is not in the bundle"
            raise DownloadHTTPError(msg, _NOT_FOUND)
        return self._reader.stream(name)


class _BundleUpdater(Updater):
    """python-tuf's client at a given time: it has no public way to set the time by which expiry is judged."""

    def __init__(self, folder: Path, reader: BundleReader, root: bytes, now: datetime) -> None:
        super().__init__(str(folder), _BASE, fetcher=_BundleFetcher(reader), bootstrap=root)
        self._trusted_set.reference_time = now


def refresh(reader: BundleReader, root: bytes, seeds: dict[str, bytes], *, seen: int, now: datetime) -> Refreshed:
    """Check the bundle's metadata against a trusted root and what was accepted before.

    Args:
        reader: the bundle.
        root: trusted root document.
        seeds: timestamp, snapshot and targets accepted last, by file name; missing ones are allowed.
        seen: highest timestamp version on record, 0 for none; used to tell an old bundle from a mixed one.
        now: time by which expiry is judged.

    Raises:
        SignatureError: a signature is missing, unknown or wrong, or documents do not belong together.
        ExpiredError: a document has expired.
        RollbackError: a document is older than the seed.
        BundleError: a document cannot be read.
        StorageError: the system's folder for temporary files cannot be used.
    """
    if f"{METADATA}/timestamp.json" not in reader.sizes():
        msg = f"{reader.path.name} is not signed."
        raise SignatureError(msg, next_step="Ask the training site for a signed bundle.")
    temporary = Path(tempfile.gettempdir())
    with storage_errors(temporary), tempfile.TemporaryDirectory(prefix="wherry-trust-") as scratch:
        folder = Path(scratch)
        for name, data in seeds.items():
            (folder / name).write_bytes(data)
        _run(reader, folder, root, now, max(seen, _version(seeds.get("timestamp.json"))))
        return _accepted(folder)


def check_root_document(data: bytes) -> None:
    """Raise SignatureError if this is not a root document signed by its own keys."""
    try:
        document = Metadata[Root].from_bytes(data)
        document.signed.verify_delegate(Root.type, document.signed_bytes, document.signatures)
    except (RepositoryError, ValueError) as error:
        msg = "The root document that was given cannot be read, or is not signed by its own keys."
        raise SignatureError(
            msg, next_step="Get the publisher's root.json again; `wherry keys init` names it."
        ) from error


def _run(reader: BundleReader, folder: Path, root: bytes, now: datetime, seen: int) -> None:
    try:
        _BundleUpdater(folder, reader, root, now).refresh()
    except ExpiredMetadataError as error:
        raise _expired(reader, folder, now) from error
    except BadVersionNumberError as error:
        offered = _version(reader.read(f"{METADATA}/timestamp.json", _LIMIT))
        if offered < seen:
            what = f"timestamp version {offered} after {seen}"
            msg = f"{reader.path.name} is older than what this device has seen: {what}."
            raise RollbackError(msg) from error
        msg = f"{reader.path.name} mixes signed documents that do not belong together."
        raise SignatureError(msg) from error
    except DownloadLengthMismatchError as error:
        msg = f"{reader.path.name} is damaged: a signed document is longer than it may be."
        raise BundleError(msg) from error
    except DownloadError as error:
        msg = f"{reader.path.name} is damaged: a signed document is missing."
        raise SignatureError(msg) from error
    except RepositoryError as error:
        msg = f"{reader.path.name} is not signed by a publisher whom this device trusts, or was changed after signing."
        raise SignatureError(msg) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{reader.path.name} is damaged: a signed document cannot be read."
        raise BundleError(msg) from error


def _accepted(folder: Path) -> Refreshed:
    root = (folder / "root.json").read_bytes()
    cached = {name: (folder / name).read_bytes() for name in CACHED}
    trusted = Metadata[Root].from_bytes(root).signed
    timestamp = Metadata[Timestamp].from_bytes(cached["timestamp.json"]).signed
    snapshot = Metadata[Snapshot].from_bytes(cached["snapshot.json"]).signed
    targets = Metadata[Targets].from_bytes(cached["targets.json"]).signed
    parts = {"root": trusted, "timestamp": timestamp, "snapshot": snapshot, "targets": targets}
    roles = {
        role: RoleMark(version=part.version, keyids=tuple(trusted.roles[role].keyids)) for role, part in parts.items()
    }
    expires = min(part.expires for part in parts.values())
    return Refreshed(root=root, cached=cached, roles=roles, expires=expires, targets=targets.targets)


def _expired(reader: BundleReader, folder: Path, now: datetime) -> ExpiredError:
    """Say which document expired when; its signature was checked before its expiry."""
    root = Metadata[Root].from_bytes((folder / "root.json").read_bytes()).signed.expires
    if root <= now:
        return ExpiredError(f"The publisher's root document expired on {root:%Y-%m-%d}.")
    names = [name for name in reader.names() if name.startswith(f"{METADATA}/") and not name.endswith("root.json")]
    expires = min((_expiry(reader.read(name, _LIMIT), now) for name in names), default=now)
    return ExpiredError(f"The signature of {reader.path.name} expired on {expires:%Y-%m-%d}.")


def _expiry(data: bytes, now: datetime) -> datetime:
    try:
        document: Metadata[Any] = Metadata.from_bytes(data)
    except (RepositoryError, ValueError):
        return now
    expires: datetime = document.signed.expires
    return expires.astimezone(UTC)


def _version(data: bytes | None) -> int:
    """Return the version that a timestamp document claims, 0 if it cannot be read."""
    if data is None:
        return 0
    try:
        return Metadata[Timestamp].from_bytes(data).signed.version
    except (RepositoryError, ValueError):
        return 0
