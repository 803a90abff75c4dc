"""History: append-only events, and the state that follows from them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa

from wherry.core.errors import BadInputError
from wherry.core.model import Event
from wherry.registry.paper import check_limit, check_reason, read_back, write_down
from wherry.registry.schema import events

Kind: TypeAlias = Literal["registered", "alias_moved", "released"]
UNDONE = "rollback_of"
"""Key in the details of an event that is a rollback: the `seq` of the event that it undid."""


def now() -> str:
    """Return the time in UTC as ISO 8601 with microseconds, so that texts sort like times."""
    return instant(datetime.now(UTC))


def instant(time: datetime) -> str:
    """Return a time as the registry writes it; one without a zone is taken as UTC."""
    zoned = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).isoformat(timespec="microseconds")


def parse_instant(text: str) -> str:
    """Read any ISO 8601 time and return it as the registry writes it.

    Raises:
        BadInputError: it is not a time.
    """
    try:
        return instant(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        msg = f"{text!r} is not a time."
        raise BadInputError(msg, next_step="Write it like 2026-11-17T14:03:00+00:00.") from error


def draft(kind: Kind, model: str, version: int, *, who: str, why: str, details: dict[str, Any] | None = None) -> Event:
    """Return an event that has no `seq` yet.

    Raises:
        BadInputError: `who` or `why` is blank.
    """
    check_reason(who, why)
    return Event(
        seq=0, at=now(), who=who, why=why, kind=kind, model=model, version=version, details=dict(details or {})
    )


def append(
    connection: sa.Connection,
    event: Event,
    *,
    beneath: int | None = None,
    product: str | None = None,
    release: int | None = None,
) -> Event:
    """Write the next line of history and return it with its `seq`. The connection holds the write lock.

    Raises:
        BadInputError: the details hold what JSON cannot carry.
    """
    last = connection.execute(sa.select(sa.func.max(events.c.seq))).scalar_one()
    details, text = write_down(event.details, dict, "the event's details")
    written = replace(event, seq=(last or 0) + 1, details=details)
    columns = ("seq", "at", "who", "why", "kind", "model", "version", "alias", "previous")
    row = {column: getattr(written, column) for column in columns}
    connection.execute(events.insert().values(**row, details=text, beneath=beneath, product=product, release=release))
    return written


def of_row(row: sa.Row[Any]) -> Event:
    """Return the event of a row of `events`."""
    return Event(
        seq=row.seq,
        at=row.at,
        who=row.who,
        why=row.why,
        kind=row.kind,
        model=row.model,
        version=row.version,
        alias=row.alias,
        previous=row.previous,
        details=read_back(row.details, dict, "an event's details"),
    )


def page(connection: sa.Connection, model: str | None, *, before: int | None, limit: int) -> list[Event]:
    """Return events, newest first, of one model or of all.

    Raises:
        BadInputError: the limit is smaller than one.
    """
    query = sa.select(events).order_by(events.c.seq.desc()).limit(check_limit(limit))
    if model is not None:
        query = query.where(events.c.model == model)
    if before is not None:
        query = query.where(events.c.seq < before)
    return [of_row(row) for row in connection.execute(query)]


def fold(history: Iterable[Event]) -> dict[tuple[str, str], int]:
    """Return what each (model, alias) points at after `history`, oldest event first."""
    state: dict[tuple[str, str], int] = {}
    for event in history:
        if event.kind == "alias_moved" and event.alias is not None:
            state[event.model, event.alias] = event.version
    return state
