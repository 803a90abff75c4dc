"""From COMMIT to IDLE: the new release is settled, then the device is tidied up. Every step may be done twice."""

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from wherry.agent.backup import prune
from wherry.agent.machine import Machine
from wherry.agent.pointer import write_pointer
from wherry.agent.states import State
from wherry.agent.trust import settle_release
from wherry.bundle.release import Release, open_release
from wherry.core.errors import WherryError


def finish(machine: Machine, **details: Any) -> None:
    """Carry out what is left from COMMIT or CLEANUP on, and end in IDLE.

    Raises:
        StorageError: something could not be written; the next start carries on from here.
    """
    if machine.state is State.COMMIT:
        commit(machine, **details)
        machine.enter(State.CLEANUP)
    tidy(machine)
    machine.enter(State.IDLE)


def commit(machine: Machine, **details: Any) -> None:
    """End the trial of the live release.

    The device's release counter is raised here, after the probation, and not when the bundle was verified. A release
    that is signed and unhealthy would otherwise raise it as well: the device goes back by itself, and then refuses
    every release with a number below the one that never worked, the mended one perhaps among them. This way a device
    only ever refuses what is older than something that was healthy on it. The pointer comes first: cut off between the
    two, the device runs the new release, and the counter follows at the next start.

    Raises:
        StorageError: something could not be written; the next start carries on from here.
    """
    transaction = machine.transaction
    pointer = machine.pointer()
    if transaction.release is None or pointer.current != transaction.release:
        return
    if pointer.trial:
        write_pointer(machine.layout, replace(pointer, trial=False, attempts=0))
    settle_release(machine.layout, open_release(machine.folder(transaction.release)))
    machine.refusals.settle(transaction.manifest_sha256, transaction.number)
    last = machine.journal.last()
    if last is None or (last.kind, last.release) != ("installed", transaction.release):
        machine.journal.append(
            "installed",
            release=transaction.release,
            why=transaction.why,
            live=transaction.release,
            previous=transaction.previous,
            **details,
        )


def tidy(machine: Machine) -> None:
    """Keep the live release, the one before it and the newest others; drop the rest, their blobs and old backups.

    Nothing here may fail: what cannot be removed now, such as a file that is held open on Windows, goes the next time.
    """
    with suppress(OSError):
        kept = _drop_releases(machine)
        _drop_blobs(machine, kept)
        prune(machine.layout, machine.config.product, machine.config.keep_backups)


def _drop_releases(machine: Machine) -> list[Path]:
    pointer = machine.pointer()
    bound = {pointer.current, pointer.previous}
    folders = [path for path in machine.layout.releases.glob("*/*") if path.is_dir()]
    others = [path for path in folders if path.name not in bound and not path.name.startswith(".")]
    others.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    kept = [path for path in folders if path.name in bound]
    kept += others[: max(0, machine.config.keep - len(kept))]
    for path in folders:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)
    return kept


def _drop_blobs(machine: Machine, kept: list[Path]) -> None:
    """Drop every blob that no kept release is made of; none at all if a kept release cannot be read."""
    wanted: set[str] = set()
    for folder in kept:
        try:
            wanted |= _digests(open_release(folder))
        except WherryError:
            return
    for path in machine.layout.blobs.rglob("*"):
        if path.is_file() and path.name not in wanted:
            with suppress(OSError):
                path.unlink()


def _digests(release: Release) -> set[str]:
    files = (release.manifest.golden, *release.entry.variant.files)
    return {file.sha256 for file in files}
