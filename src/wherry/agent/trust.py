"""The device's side of trust: the pinned root, what is accepted beyond the signatures, and the high-water record."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from wherry.agent.layout import Layout
from wherry.agent.machine import Machine
from wherry.bundle.release import Release, open_release
from wherry.bundle.trust.highwater import ReleaseMark, read_record, write_record
from wherry.bundle.trust.trusted import Trusted
from wherry.core.digest import sha256_hex, short
from wherry.core.errors import RefusedError, RollbackError, TrustError, WherryError
from wherry.durable import atomic_write, storage_errors

_PINNED = "pinned.root.json"


def pin_root(layout: Layout, root_key: bytes) -> None:
    """Pin the publisher's root for the life of the device.

    Raises:
        RefusedError: another root is pinned.
        StorageError: it could not be written.
    """
    path = layout.trust / _PINNED
    before = _pinned(layout)
    if before is None:
        atomic_write(path, root_key)
    elif before != root_key:
        msg = f"{layout.root} trusts another publisher: its pinned root is {short(sha256_hex(before))}."
        raise RefusedError(msg, next_step="To hand a device to another publisher, set up an empty folder.")


def verify_bundle(machine: Machine, bundle: Path, now: datetime) -> Trusted:
    """Return the bundle as trusted: signed, fresh, meant for this product, and not one this device went back from.

    Raises:
        TrustError: it is not what was signed, expired, or older than what this device has seen.
        RefusedError: it is for another product, or this device already went back from it.
    """
    from wherry.bundle.trust.verify import verify

    root = _pinned(machine.layout)
    if root is None:
        msg = f"{machine.layout.root} has lost the root it trusts."
        raise TrustError(msg, next_step="Run `wherry device init` again with the publisher's root.json.")
    trusted = verify(bundle, machine.layout.trust, root=root, now=now)
    try:
        _accept(machine, trusted)
    except BaseException:
        trusted.close()
        raise
    return trusted


def live_release(machine: Machine, *, verify_bytes: bool = False) -> Release | None:
    """Return the live release; None when nothing is installed, or what is there is damaged."""
    current = machine.pointer().current
    if current is None:
        return None
    try:
        return open_release(machine.folder(current), verify_bytes=verify_bytes)
    except WherryError:
        return None


def settle_release(layout: Layout, release: Release) -> None:
    """Record that a release has passed its probation here, so that no older one is accepted any more.

    Works from the release on the disk, as a start after a crash has no bundle at hand.

    Raises:
        StorageError: the record is damaged, or cannot be read or written.
    """
    record = read_record(layout.trust)
    if record is None:
        return
    product, number = release.manifest.product, release.manifest.release
    mark = record.releases.get(product)
    if mark is None or mark.release < number:
        new = ReleaseMark(release=number, manifest_sha256=release.manifest_sha256)
        write_record(layout.trust, replace(record, releases={**record.releases, product: new}))


def _accept(machine: Machine, trusted: Trusted) -> None:
    manifest, product = trusted.manifest, machine.config.product
    if manifest.product != product:
        msg = f"This bundle is for {manifest.product}, and this device is for {product}."
        raise RefusedError(msg, next_step="Choose the bundle of this product, or the device of that one.")
    machine.refusals.check(trusted.manifest_sha256)
    live = live_release(machine)
    if live is not None and manifest.release < live.manifest.release:
        msg = f"{manifest.name} is older than {live.manifest.name}, which is live on this device."
        raise RollbackError(msg)


def _pinned(layout: Layout) -> bytes | None:
    path = layout.trust / _PINNED
    with storage_errors(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
