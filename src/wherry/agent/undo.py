"""The two ways out of an install: throw away what was staged, or go back to the release before.

Both may be cut off at any instant and done again from the start. What must happen comes first and needs no free space;
what merely should happen (journal, refusals) is tried and may fail.
"""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wherry.agent.backup import restore
from wherry.agent.hooks import run_hook
from wherry.agent.machine import Machine
from wherry.agent.pointer import Pointer, write_pointer
from wherry.agent.publish import model_path, publish, unpublish
from wherry.agent.records import HookResult
from wherry.agent.states import State
from wherry.bundle.release import open_release
from wherry.core.errors import StorageError

MOST_RESTARTS = 3
"""A restart hook that takes the machine down on every way back is left out from then on: no reboot loop."""


def discard(machine: Machine, why: str, *, kind: str = "discarded") -> None:
    """Throw away what was staged. Fetched bytes stay, so that the next install carries on with them."""
    transaction = machine.transaction
    drop_staged(machine, transaction.release)
    machine.journal.note(kind, release=transaction.release, why=why, state=machine.state)
    machine.enter(State.IDLE, tolerant=True)


def drop_staged(machine: Machine, release: str | None) -> None:
    """Remove the folder of a release that the pointer does not name."""
    pointer = machine.pointer()
    if release is not None and release not in {pointer.current, pointer.previous}:
        shutil.rmtree(machine.folder(release), ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why the device goes back."""

    why: str
    refuse: bool
    """Whether the release is at fault and must not be tried again."""


def go_back(machine: Machine, reason: Reason) -> HookResult | None:
    """Make the release before the live one again, publish it, and restart the application if it may run the other.

    Returns:
        How the restart hook ended; None when it was not run.

    Raises:
        StorageError: the pointer or the view could not be written; the next start tries again.
    """
    resumed = machine.state is State.ROLLBACK
    left = machine.transaction
    machine.enter(State.ROLLBACK, tolerant=True, why=reason.why, refuse=reason.refuse)
    attempts = machine.pointer().attempts + 1 if resumed else 1
    write_pointer(machine.layout, Pointer(current=left.previous, previous=left.older, attempts=attempts))
    show(machine, left.previous)
    restarted = restart(machine, left.previous) if left.restarted and attempts <= MOST_RESTARTS else None
    if reason.refuse:
        with suppress(StorageError):
            machine.refusals.refuse(left.manifest_sha256, left.release or "", left.number, reason.why)
    machine.journal.note(
        "rolled_back",
        release=left.release,
        why=reason.why,
        live=left.previous,
        restart=restarted,
        attempts=attempts,
    )
    drop_staged(machine, left.release)
    machine.enter(State.IDLE, tolerant=True)
    return restarted


def show(machine: Machine, release: str | None) -> None:
    """Make the published view show `release`; without one, what was there before the first install.

    Raises:
        StorageError: the view could not be written.
    """
    if release is None:
        unpublish(machine.layout, machine.config.product)
        restore(machine.layout, machine.transaction.saved)
    else:
        publish(machine.layout, machine.config.product, open_release(machine.folder(release)))


def restart(machine: Machine, release: str | None) -> HookResult | None:
    """Run the restart hook for `release`; None when the device has none."""
    hooks = machine.config.hooks
    if hooks.restart is None:
        return None
    return run_hook(hooks.restart, hook_environment(machine, release), hooks.restart_timeout_s)


def check_health(machine: Machine, release: str | None) -> HookResult | None:
    """Run the health hook once; None when the device has none."""
    hooks = machine.config.hooks
    if hooks.health is None:
        return None
    return run_hook(hooks.health, hook_environment(machine, release), hooks.health_timeout_s)


def hook_environment(machine: Machine, release: str | None) -> dict[str, str]:
    """Return what a hook is told: the root, the folder of the release, and the published main file."""
    folder: Path | None = machine.folder(release) if release is not None else None
    model = model_path(machine.layout, machine.config.product, open_release(folder)) if folder is not None else None
    return {
        "WHERRY_ROOT": str(machine.layout.root),
        "WHERRY_RELEASE": str(folder) if folder is not None else "",
        "WHERRY_MODEL": str(model) if model is not None else "",
    }
