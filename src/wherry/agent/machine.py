"""The machine: carries one command through the table of states, persisting each state before anything is done in it."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from wherry.agent.config import DeviceConfig
from wherry.agent.journal import Journal
from wherry.agent.layout import Layout
from wherry.agent.pointer import Pointer, read_pointer
from wherry.agent.records import AgentEvent, OnEvent, Step
from wherry.agent.refusals import Refusals
from wherry.agent.states import TABLE, State
from wherry.agent.transaction import Transaction, write_transaction
from wherry.core.errors import StorageError, WherryError


class Machine:
    """A locked device with its present state. Every change of state goes through `enter`."""

    def __init__(
        self, layout: Layout, config: DeviceConfig, transaction: Transaction, on_event: OnEvent | None
    ) -> None:
        """Take over a device whose lock is held, in the state that `transaction` says."""
        self.layout = layout
        self.config = config
        self.transaction = transaction
        self.journal = Journal(layout.journal)
        self.refusals = Refusals(layout.refusals)
        self.steps: list[Step] = []
        self._on_event = on_event
        self._entered = time.monotonic()

    @property
    def state(self) -> State:
        """The present state."""
        return self.transaction.state

    def folder(self, release: str) -> Path:
        """Return where the release of that name lies."""
        return self.layout.releases / self.config.product / release

    def pointer(self) -> Pointer:
        """Return the pointer in effect; nothing installed when there is none."""
        return read_pointer(self.layout) or Pointer()

    def enter(self, state: State, *, tolerant: bool = False, **facts: Any) -> None:
        """Persist `state` and the facts that belong to it, then go there.

        Args:
            state: must be one that the table allows after the present one.
            tolerant: go there even if the disk does not take it. For the way back: what stands on the disk is then the
                state before, which leads back as well.
            facts: fields of the transaction that change.

        Raises:
            StorageError: the state could not be persisted; the present one stays.
        """
        if state not in TABLE[self.state].then:
            msg = f"The agent went from {self.state} to {state}, which its table does not allow."
            raise WherryError(msg)
        self.tell("leaving")
        before = self.transaction
        following = Transaction() if state is State.IDLE else replace(before, **facts, state=state)
        try:
            write_transaction(self.layout, following)
        except StorageError:
            if not tolerant:
                raise
        now = time.monotonic()
        if before.state is not State.IDLE:
            self.steps.append(Step(state=before.state, seconds=now - self._entered))
        self.transaction, self._entered = following, now
        self.tell("entered")

    def record(self, **facts: Any) -> None:
        """Persist facts that became known in the present state.

        Raises:
            StorageError: they could not be persisted.
        """
        following = replace(self.transaction, **facts)
        write_transaction(self.layout, following)
        self.transaction = following

    def tell(self, kind: Any, message: str = "", *, done: int = 0, total: int = 0) -> None:
        """Hand an event to whoever watches. A watcher that fails is not asked again: telling is never on the way."""
        if self._on_event is None:
            return
        try:
            self._on_event(AgentEvent(kind=kind, state=self.state, message=message, done=done, total=total))
        except Exception:
            self._on_event = None
