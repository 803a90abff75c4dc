"""The state machine on one page: what follows what, what a failure does, and what a start after a crash does.

Every state is written to `state/transaction.json` on entry, before anything is done in it. Up to GATE the device's live
release is not touched, so a failure there only throws work away. From SWITCH on, the way back is the pointer: one write
of one slot. From COMMIT on, the new release has passed its probation and the only way is forward.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where an install is."""

    IDLE = "IDLE"
    VERIFY_META = "VERIFY_META"
    CHOOSE = "CHOOSE"
    FETCH = "FETCH"
    STAGE = "STAGE"
    GATE = "GATE"
    BACKUP = "BACKUP"
    SWITCH = "SWITCH"
    PUBLISH = "PUBLISH"
    PROBATION = "PROBATION"
    COMMIT = "COMMIT"
    CLEANUP = "CLEANUP"
    ROLLBACK = "ROLLBACK"


class Way(StrEnum):
    """What to do with an install that did not reach its end."""

    NOTHING = "nothing"
    """There is nothing to do."""
    DISCARD = "discard"
    """The live release was not touched: drop what was staged. Fetched bytes stay, so the next install resumes."""
    BACK = "back"
    """Return to the release before, publish it and restart its application."""
    FORWARD = "forward"
    """The new release has passed: carry out what is left."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table."""

    then: frozenset[State]
    """The states that may follow."""
    otherwise: Way
    """What a failure in this state, or a start after a crash in it, leads to."""


def _rule(then: tuple[State, ...], otherwise: Way) -> Rule:
    return Rule(frozenset(then), otherwise)


TABLE: dict[State, Rule] = {
    State.IDLE: _rule((State.VERIFY_META, State.ROLLBACK), Way.NOTHING),
    # Before the switch. A variant that does not run here sends the machine back to fetch the next candidate.
    State.VERIFY_META: _rule((State.CHOOSE, State.IDLE), Way.DISCARD),
    State.CHOOSE: _rule((State.FETCH, State.IDLE), Way.DISCARD),
    State.FETCH: _rule((State.STAGE, State.IDLE), Way.DISCARD),
    State.STAGE: _rule((State.GATE, State.IDLE), Way.DISCARD),
    State.GATE: _rule((State.BACKUP, State.FETCH, State.IDLE), Way.DISCARD),
    State.BACKUP: _rule((State.SWITCH, State.IDLE), Way.DISCARD),
    # From here the new release may be live, on trial.
    State.SWITCH: _rule((State.PUBLISH, State.ROLLBACK), Way.BACK),
    State.PUBLISH: _rule((State.PROBATION, State.ROLLBACK), Way.BACK),
    State.PROBATION: _rule((State.COMMIT, State.ROLLBACK), Way.BACK),
    State.ROLLBACK: _rule((State.IDLE, State.ROLLBACK), Way.BACK),
    # From here it has passed.
    State.COMMIT: _rule((State.CLEANUP,), Way.FORWARD),
    State.CLEANUP: _rule((State.IDLE,), Way.FORWARD),
}
