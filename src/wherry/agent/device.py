"""The verbs of a device. Each takes the lock, puts right what was left behind, and then does one thing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from wherry.agent.config import DeviceConfig, Hooks, check_config, read_config, write_config
from wherry.agent.journal import Journal, JournalEntry
from wherry.agent.layout import Layout
from wherry.agent.lock import device_lock
from wherry.agent.machine import Machine
from wherry.agent.pointer import create_slots, read_pointer
from wherry.agent.records import InstallReport, OnEvent, Recovery, RollbackReport
from wherry.agent.recovery import start
from wherry.agent.transaction import Transaction
from wherry.agent.trust import pin_root
from wherry.agent.undo import Reason, check_health, go_back
from wherry.bundle.release import Release, open_release
from wherry.core.codec import to_json
from wherry.core.digest import sha256_hex, short
from wherry.core.errors import DeviceError, NotFoundError, RefusedError, StorageError, UsageError, WherryError
from wherry.core.model import check_name
from wherry.durable import atomic_write, storage_errors


def init_device(
    root: Path,
    *,
    product: str,
    root_key: bytes,
    hooks: Hooks | None = None,
    probation_s: float = 30.0,
    probe_interval_s: float = 1.0,
    keep: int = 3,
) -> DeviceConfig:
    """Make `root` a device for `product` that trusts the publisher behind `root_key`; again, to change its settings.

    Args:
        root: the device's folder; made if need be.
        product: what is installed here; cannot be changed later.
        root_key: the publisher's first TUF root document; cannot be changed later.
        hooks: the owner's programs.
        probation_s: how long a new release is watched, in seconds.
        probe_interval_s: time between two health checks, in seconds.
        keep: how many releases stay on the disk.

    Raises:
        RefusedError: the folder is a device for another product or another publisher.
        BadInputError: the product's name cannot be a file's name.
        UsageError: a setting makes no sense.
        StorageError: the folder cannot be written.
        BusyError: another wherry is at work on it.
    """
    layout = Layout(root)
    config = check_config(
        DeviceConfig(
            product=check_name(product, "a product's name"),
            root_sha256=sha256_hex(root_key),
            hooks=hooks or Hooks(),
            probation_s=probation_s,
            probe_interval_s=probe_interval_s,
            keep=keep,
        )
    )
    for folder in (layout.root, layout.state, layout.store, layout.releases, layout.backups, layout.models):
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    with device_lock(layout.lock):
        if layout.config.exists():
            config = _changed(read_config(layout), config, root)
        pin_root(layout, root_key)
        create_slots(layout)
        write_config(layout, config)
    return config


def install(root: Path, bundle: Path, *, now: datetime | None = None, on_event: OnEvent | None = None) -> InstallReport:
    """Install a bundle: verify, choose, prove here, back up, switch, publish, watch, commit.

    Killed at any instant, the device comes back on the old release or the new one. A release that is not healthy is
    taken back at once, and the report says `rolled_back`.

    Args:
        root: the device.
        bundle: .zip or folder.
        now: the time to judge expiry by; the clock's by default.
        on_event: called with what happens, in this thread.

    Raises:
        TrustError: the bundle is not what was signed.
        RefusedError: a proof, a policy or an earlier rollback says no; the device is unchanged.
        ToolchainMissingError: no runtime for any of its variants is installed.
        DeviceError: busy, or its storage failed.
    """
    from wherry.agent.installation import carry_out

    with _opened(root, on_event) as (machine, _):
        report = carry_out(machine, bundle, now or datetime.now(UTC))
        _keep_report(machine, report)
    return report


def rollback(root: Path, *, who: str, why: str) -> RollbackReport:
    """Go back to the release before the live one, which this device has trusted and proven; needs no network.

    The release that is left is not tried again, unless a second rollback returns to it.

    Raises:
        UsageError: no reason was given.
        RefusedError: there is no release to go back to.
        DeviceError: the release before is damaged, or the storage failed.
    """
    if not who.strip() or not why.strip():
        msg = "A rollback needs a name and a reason."
        raise UsageError(msg)
    with _opened(root) as (machine, _):
        pointer = machine.pointer()
        left = _release(machine, pointer.current)
        if pointer.previous is None:
            msg = "There is no earlier release on this device to go back to."
            raise RefusedError(msg, next_step="Publish the wanted version as a new release and install that.")
        live = _whole(machine, pointer.previous)
        machine.transaction = Transaction(
            release=pointer.current,
            number=left.manifest.release,
            manifest_sha256=left.manifest_sha256,
            previous=pointer.previous,
            older=pointer.current,
            restarted=True,
        )
        reason = f"Rolled back by {who}: {why}"
        restarted = go_back(machine, Reason(why=reason, refuse=True))
        machine.refusals.lift(live.manifest_sha256)
        health = check_health(machine, live.folder.name)
    return RollbackReport(
        message=f"went back from {left.manifest.name} to {live.manifest.name}",
        left=left.folder.name,
        live=live.folder.name,
        who=who,
        why=why,
        restart=restarted,
        health=health,
    )


def recover(root: Path) -> Recovery:
    """Put right what a crash left behind; to be run when the machine starts. Every other verb does it as well.

    Raises:
        NotFoundError: the folder is not a device.
        BusyError: another wherry is at work, so there is nothing to put right.
        StorageError: the disk does not let it.
    """
    with _opened(root) as (_, recovery):
        return recovery


def history(root: Path) -> list[JournalEntry]:
    """Return what happened on this device, oldest first.

    Raises:
        NotFoundError: the folder is not a device.
        StorageError: the journal cannot be read.
    """
    layout = Layout(root)
    read_config(layout)
    return Journal(layout.journal).entries()


def current_release(root: Path) -> Release:
    """Return the live release, for whoever serves it. Open its files once; they stay as they are until it is replaced.

    Raises:
        NotFoundError: the folder is not a device, or nothing is installed.
        TrustError: the release is damaged.
    """
    layout = Layout(root)
    config = read_config(layout)
    pointer = read_pointer(layout)
    if pointer is None or pointer.current is None:
        msg = f"Nothing is installed on {root}."
        raise NotFoundError(msg, next_step="Install a bundle with `wherry device install`.")
    return open_release(layout.releases / config.product / pointer.current)


def _changed(before: DeviceConfig, wanted: DeviceConfig, root: Path) -> DeviceConfig:
    """Return the settings of before with what `init_device` can set taken from `wanted`."""
    if before.product != wanted.product:
        msg = f"{root} is a device for {before.product}, not for {wanted.product}."
        raise RefusedError(msg, next_step="Use another folder for another product.")
    if before.root_sha256 != wanted.root_sha256:
        msg = f"{root} trusts another publisher: its pinned root is {short(before.root_sha256)}."
        raise RefusedError(msg, next_step="To hand a device to another publisher, set up an empty folder.")
    return replace(
        before,
        hooks=wanted.hooks,
        probation_s=wanted.probation_s,
        probe_interval_s=wanted.probe_interval_s,
        keep=wanted.keep,
    )


@contextmanager
def _opened(root: Path, on_event: OnEvent | None = None) -> Iterator[tuple[Machine, Recovery]]:
    layout = Layout(root)
    config = read_config(layout)
    with device_lock(layout.lock):
        yield start(layout, config, on_event)


def _keep_report(machine: Machine, report: InstallReport) -> None:
    """Leave the report for people. The install is over: that its report cannot be written does not change that."""
    try:
        atomic_write(machine.layout.last_install, to_json(report))
    except StorageError:
        machine.journal.note("note", why="The report of the last install could not be written.")


def _release(machine: Machine, name: str | None) -> Release:
    if name is None:
        msg = f"Nothing is installed on {machine.layout.root}."
        raise NotFoundError(msg, next_step="Install a bundle with `wherry device install`.")
    return open_release(machine.folder(name))


def _whole(machine: Machine, name: str) -> Release:
    try:
        return open_release(machine.folder(name), verify_bytes=True)
    except WherryError as error:
        msg = f"The release before, {name}, is damaged, so the device stays as it is: {error.message}"
        raise DeviceError(msg, next_step="Publish the wanted version as a new release and install that.") from error
