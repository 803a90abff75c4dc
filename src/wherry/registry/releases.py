"""Releases: one counter per product, counted by the events themselves."""

from dataclasses import replace

import sqlalchemy as sa

from wherry.core.model import Event
from wherry.registry.events import append
from wherry.registry.schema import events


def append_next(connection: sa.Connection, product: str, event: Event) -> Event:
    """Write `event` as the product's next release. The connection holds the write lock.

    Raises:
        BadInputError: the details hold what JSON cannot carry.
    """
    query = sa.select(sa.func.max(events.c.release)).where(events.c.product == product)
    release = (connection.execute(query).scalar_one() or 0) + 1
    numbered = replace(event, details={**event.details, "product": product, "release": release})
    return append(connection, numbered, product=product, release=release)
