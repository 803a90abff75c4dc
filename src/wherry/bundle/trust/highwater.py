"""The device's own record of the highest versions it has seen, kept apart from TUF's files and synced to the medium.

python-tuf keeps its baseline in files that are not synced and that it silently fetches again when they are damaged, so
a power cut, or somebody who deletes two files, would open the way back to an old release. This record closes it. It
also holds the root document itself, so that what is trusted and what was seen change in one atomic step.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wherry.core.codec import from_json, to_json
from wherry.core.digest import short
from wherry.core.errors import DocumentError, ExpiredError, RollbackError, StorageError
from wherry.core.manifest import Manifest
from wherry.durable import atomic_write, storage_errors

RECORD = "highwater.json"
SCHEMA = 1
CLOCK_SLACK = timedelta(hours=24)
"""How far a clock may step back without being called wrong: a hardware clock in local time is up to 14 h off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleMark:
    """Highest version of a TUF role, and the keys it was signed with: a change of keys starts the count anew."""

    version: int
    keyids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseMark:
    """The highest release of a product that this device has decided to install."""

    release: int
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HighWater:
    """What this device trusts, and what it has seen."""

    pinned_root_sha256: str
    """Digest of the root document that was pinned by hand."""
    root: str
    """The root document that the pinned one has led to."""
    roles: dict[str, RoleMark]
    time_floor: str
    """No earlier time is believed; ISO 8601 UTC."""
    releases: dict[str, ReleaseMark] = field(default_factory=dict)
    schema: int = SCHEMA


def read_record(state: Path) -> HighWater | None:
    """Return the record, or None on a device that has trusted nobody yet.

    Raises:
        StorageError: it is damaged or cannot be read.
    """
    path = state / RECORD
    try:
        with storage_errors(path):
            if not path.exists():
                return None
            record = from_json(path.read_bytes(), HighWater, what="the trust record", schema=SCHEMA)
        datetime.fromisoformat(record.time_floor)
    except (DocumentError, ValueError) as error:
        msg = f"The device's trust record {path} is damaged, so it is not known what was installed before."
        hint = "Restore it from a backup, or remove it and give the publisher's root.json again."
        raise StorageError(msg, next_step=hint) from error
    return record


def write_record(state: Path, record: HighWater) -> None:
    """Write the record so that it survives a power cut.

    Raises:
        StorageError: it cannot be written.
    """
    atomic_write(state / RECORD, to_json(record))


def check_clock(now: datetime, floor: datetime, why: str) -> None:
    """Raise ExpiredError if the clock is so far before `floor` that no expiry can be judged by it."""
    if now < floor - CLOCK_SLACK:
        clock, least = f"{now:%Y-%m-%d %H:%M} UTC", f"{floor:%Y-%m-%d %H:%M} UTC"
        msg = f"This machine's clock says {clock}, but it must be later than {least}: {why}."
        raise ExpiredError(msg, next_step="Set the clock, then run the same command again.")


def check_versions(record: HighWater, seen: dict[str, RoleMark]) -> None:
    """Raise RollbackError if a role's version is lower than one that was seen under the same keys."""
    for role, now in seen.items():
        mark = record.roles.get(role)
        if mark is None or now.version >= mark.version:
            continue
        if role == "root" or set(now.keyids) == set(mark.keyids):
            what = f"{role} version {now.version} after {mark.version}"
            msg = f"The bundle is older than what this device has seen: {what}."
            raise RollbackError(msg)


def check_release(record: HighWater, manifest: Manifest, manifest_sha256: str) -> None:
    """Raise RollbackError if the release is lower than the one installed, or the same number with other contents."""
    mark = record.releases.get(manifest.product)
    if mark is None or manifest.release > mark.release:
        return
    what = f"{manifest.product} release {manifest.release}"
    if manifest.release < mark.release:
        msg = f"The bundle holds {what}, and this device has had release {mark.release}."
        raise RollbackError(msg)
    if manifest_sha256 != mark.manifest_sha256:
        old, new = short(mark.manifest_sha256), short(manifest_sha256)
        msg = f"The bundle's {what} is {new}, and this device has had it as {old}."
        raise RollbackError(msg)


def parse_time(text: str) -> datetime:
    """Return an ISO 8601 time as an aware one in UTC; without a zone it is read as UTC.

    Raises:
        ValueError: it is not a time.
    """
    time = datetime.fromisoformat(text)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
