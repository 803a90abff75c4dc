"""Aliases: movable names for versions. Every move is an event; the table is the fold over them."""

from dataclasses import replace
from types import EllipsisType
from typing import Any

import sqlalchemy as sa

from wherry.core.errors import ConflictError, NotFoundError, RefusedError
from wherry.core.model import Event, check_alias
from wherry.registry.events import UNDONE, append, draft, of_row
from wherry.registry.schema import aliases, events


def promote(
    connection: sa.Connection,
    model: str,
    number: int,
    alias: str,
    *,
    who: str,
    why: str,
    expected: int | EllipsisType | None = ...,
) -> Event:
    """Point the alias at an existing version; the connection holds the write lock.

    Nothing is written where it points there already: the event that moved it there is returned.

    Raises:
        BadInputError: the alias is not a name, or `who` or `why` is blank.
        ConflictError: the alias does not point at `expected` (None: must not exist yet).
    """
    moved = draft("alias_moved", model, number, who=who, why=why)
    head = _head(connection, model, check_alias(alias))
    current = None if head is None else head.version
    if not isinstance(expected, EllipsisType) and current != expected:
        msg = f"{model}@{alias} points at {_named(current)} and not at {_named(expected)}, so it was not moved."
        raise ConflictError(msg)
    if head is not None and current == number:
        return of_row(head)
    return _move(connection, moved, alias, head, beneath=None if head is None else head.seq)


def rollback(connection: sa.Connection, model: str, alias: str, *, who: str, why: str) -> Event:
    """Point the alias at what was live before; again and again walks further back. The connection holds the lock.

    The moves are a stack: a promotion lays a version on top and a rollback takes one off, so a version that was rolled
    back is not come back to.

    Raises:
        NotFoundError: no such alias.
        RefusedError: nothing was live before.
        BadInputError: `who` or `why` is blank.
    """
    head = _head(connection, model, alias)
    if head is None:
        raise unknown_alias(connection, model, alias)
    if head.beneath is None:
        msg = f"Nothing was live before {model}@v{head.version} as {alias}, so there is nothing to roll back to."
        raise RefusedError(msg, next_step=f"Name a version instead: `wherry promote {model}@vN {alias}`.")
    target = _event(connection, head.beneath)
    moved = draft("alias_moved", model, target.version, who=who, why=why, details={UNDONE: head.seq})
    return _move(connection, moved, alias, head, beneath=target.beneath)


def current(connection: sa.Connection, model: str) -> dict[str, int]:
    """Return every alias of the model and the number of the version it points at."""
    query = sa.select(aliases.c.alias, aliases.c.version).where(aliases.c.model == model).order_by(aliases.c.alias)
    return {row.alias: row.version for row in connection.execute(query)}


def resolve(connection: sa.Connection, model: str, alias: str) -> int:
    """Return the number of the version that the alias points at.

    Raises:
        NotFoundError: no such alias; the next step names those that exist.
    """
    number = current(connection, model).get(alias)
    if number is None:
        raise unknown_alias(connection, model, alias)
    return number


def live_at(connection: sa.Connection, model: str, alias: str, at: str) -> int | None:
    """Return what the alias pointed at then: the last move that is not later than `at`, or None before the first."""
    query = (
        sa.select(events.c.version)
        .where(events.c.model == model, events.c.alias == alias, events.c.at <= at)
        .order_by(events.c.seq.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()


def unknown_alias(connection: sa.Connection, model: str, alias: str) -> NotFoundError:
    """Return the error for an alias that does not exist, naming those that do."""
    known = ", ".join(current(connection, model))
    msg = f"{model} has no alias {alias!r}."
    return NotFoundError(
        msg, next_step=f"Its aliases are {known}." if known else "It has no aliases yet: write NAME@v2 instead."
    )


def _named(number: int | None) -> str:
    return "nothing" if number is None else f"v{number}"


def _head(connection: sa.Connection, model: str, alias: str) -> sa.Row[Any] | None:
    """Return the row of the event that moved the alias to where it is."""
    query = (
        sa.select(events)
        .join(aliases, aliases.c.seq == events.c.seq)
        .where(aliases.c.model == model, aliases.c.alias == alias)
    )
    return connection.execute(query).one_or_none()


def _event(connection: sa.Connection, seq: int) -> sa.Row[Any]:
    return connection.execute(sa.select(events).where(events.c.seq == seq)).one()


def _move(
    connection: sa.Connection, moved: Event, alias: str, head: sa.Row[Any] | None, *, beneath: int | None
) -> Event:
    filled = replace(moved, alias=alias, previous=None if head is None else head.version)
    event = append(connection, filled, beneath=beneath)
    place = {"version": event.version, "seq": event.seq}
    if head is None:
        connection.execute(aliases.insert().values(model=event.model, alias=alias, **place))
    else:
        where = (aliases.c.model == event.model, aliases.c.alias == alias, aliases.c.seq == head.seq)
        connection.execute(aliases.update().where(*where).values(**place))
    return event
