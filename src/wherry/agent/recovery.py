"""What every command does first: put right what the last one, or a power cut, left behind.

The table in `states.py` says which way; the pointer decides where the transaction cannot be read. Running it twice, or
being cut off in it, changes nothing about where the device ends.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from wherry.agent.commit import finish
from wherry.agent.config import DeviceConfig
from wherry.agent.journal import Journal
from wherry.agent.layout import Layout
from wherry.agent.machine import Machine
from wherry.agent.pointer import Pointer, create_slots, read_pointer, write_pointer
from wherry.agent.publish import is_intact, publish
from wherry.agent.records import OnEvent, Recovery
from wherry.agent.states import TABLE, State, Way
from wherry.agent.transaction import Transaction, read_transaction
from wherry.agent.undo import Reason, discard, go_back
from wherry.bundle.release import open_release
from wherry.core.errors import StorageError, WherryError


def start(layout: Layout, config: DeviceConfig, on_event: OnEvent | None = None) -> tuple[Machine, Recovery]:
    """Return the machine of a locked device in IDLE, and what had to be done to get it there.

    Raises:
        StorageError: the disk does not let it; the next start tries again.
    """
    repaired = _repair_pointer(layout, config)
    transaction = read_transaction(layout)
    if transaction is None:
        repaired.append("The record of the last command could not be read; the pointer decided.")
        transaction = _from_pointer(read_pointer(layout) or Pointer())
    machine = Machine(layout, config, transaction, on_event)
    found, way = machine.state, TABLE[machine.state].otherwise
    what = _put_right(machine, way)
    _sweep(machine)
    problems = _repair_view(machine, repaired)
    for sentence in repaired:
        machine.journal.note("repaired", why=sentence)
    live = machine.pointer().current
    recovery = Recovery(found=found, way=way, what=what, live=live, repaired=tuple(repaired), problems=tuple(problems))
    return machine, recovery


def _put_right(machine: Machine, way: Way) -> str:
    """Lead the machine to IDLE and say in one sentence what was done."""
    transaction, state = machine.transaction, machine.state
    name = transaction.release or "An install"
    if way is Way.DISCARD:
        discard(machine, f"The install was cut off in {state}.")
        return f"{name} was cut off in {state}, before the switch; nothing had changed."
    if way is Way.BACK:
        reason = Reason(why=transaction.why, refuse=transaction.refuse)
        if state is not State.ROLLBACK:
            reason = Reason(why=f"The install was cut off in {state}.", refuse=False)
            _count_interruption(machine)
        go_back(machine, reason)
        return f"{name} was cut off in {state}; the device is back on {transaction.previous or 'nothing installed'}."
    if way is Way.FORWARD:
        finish(machine, recovered=True)
        return f"{name} had passed its probation; what was left was carried out."
    return ""


def _count_interruption(machine: Machine) -> None:
    """Only a trial that the application had begun counts: a model that brings the machine down shows there."""
    transaction = machine.transaction
    if transaction.restarted and transaction.release is not None:
        with suppress(StorageError):
            machine.refusals.interrupted(transaction.manifest_sha256, transaction.release, transaction.number)


def _from_pointer(pointer: Pointer) -> Transaction:
    """Return a transaction in place of one that cannot be read: a trial goes back, anything else is discarded."""
    if not pointer.trial:
        return Transaction(state=State.STAGE)
    return Transaction(state=State.SWITCH, release=pointer.current, previous=pointer.previous, restarted=True)


def _repair_pointer(layout: Layout, config: DeviceConfig) -> list[str]:
    """Make a lost pointer again from the journal: the last release that was settled here and is still whole."""
    if read_pointer(layout) is not None:
        return []
    create_slots(layout)
    for entry in reversed(Journal(layout.journal).entries()):
        live = entry.details.get("live")
        if isinstance(live, str) and _is_whole(layout.releases / config.product / live):
            write_pointer(layout, Pointer(current=live))
            return [f"Both slots of the pointer were lost; the journal says that {live} is live."]
    return ["Both slots of the pointer were lost, and the journal names no release that is whole."]


def _is_whole(folder: Path) -> bool:
    try:
        open_release(folder, verify_bytes=True)
    except WherryError:
        return False
    return True


def _repair_view(machine: Machine, repaired: list[str]) -> list[str]:
    """Publish the live release again if the view does not show it, and return why that is not possible."""
    live = machine.pointer().current
    if live is None or is_intact(machine.layout, live):
        return []
    try:
        publish(machine.layout, machine.config.product, open_release(machine.folder(live)))
    except WherryError as error:
        return [f"The published files are not those of {live}, and could not be put right: {error.message}"]
    repaired.append(f"The published files were not those of {live} and were put right.")
    return []


def _sweep(machine: Machine) -> None:
    """Remove what was being written when the power went; partly fetched blobs stay, as they are carried on with."""
    layout = machine.layout
    places = (layout.root.glob, layout.state.glob, layout.backups.glob, layout.models.rglob, layout.trust.rglob)
    for look in places:
        for path in look(".*.part"):
            with suppress(OSError):
                path.unlink()
    for path in layout.releases.glob("*/.*.part"):
        shutil.rmtree(path, ignore_errors=True)
