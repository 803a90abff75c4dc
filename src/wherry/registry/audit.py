"""The audit: is the state what history says, and is every document what it was when it was written?"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from wherry.core.errors import WherryError
from wherry.core.model import Event, Version
from wherry.core.variant import Variant
from wherry.registry.blobs import BlobStore
from wherry.registry.events import UNDONE, fold, of_row
from wherry.registry.paper import read_back
from wherry.registry.schema import aliases, events, variants, versions
from wherry.registry.versions import sealed


def audit(connection: sa.Connection, blobs: BlobStore, *, deep: bool) -> list[str]:
    """Return one sentence for each thing that is not as it must be; an empty list is a sound registry.

    Args:
        connection: one consistent view.
        blobs: the store that the documents name.
        deep: read every blob through and compare its digest, instead of only looking for it.
    """
    return [
        *_aliases(connection),
        *_history(connection),
        *_versions(connection, blobs, deep=deep),
        *_variants(connection, blobs, deep=deep),
    ]


def _events(connection: sa.Connection) -> Iterator[sa.Row[Any]]:
    yield from connection.execute(sa.select(events).order_by(events.c.seq).execution_options(yield_per=1000))


def _aliases(connection: sa.Connection) -> Iterator[str]:
    told = fold(of_row(row) for row in _events(connection))
    kept = {(row.model, row.alias): row.version for row in connection.execute(sa.select(aliases))}
    for model, alias in sorted(told.keys() | kept.keys()):
        expected, found = told.get((model, alias)), kept.get((model, alias))
        if expected != found:
            yield f"{model}@{alias} points at {found}, and the events say {expected}."


def _history(connection: sa.Connection) -> Iterator[str]:
    """Replay every alias as a stack of moves and compare what each event says about the one before."""
    stacks: dict[tuple[str, str], list[Event]] = {}
    for number, row in enumerate(_events(connection), start=1):
        event = of_row(row)
        if event.seq != number:
            yield f"The events have a gap before number {event.seq}."
            return
        if event.kind != "alias_moved" or event.alias is None:
            continue
        stack = stacks.setdefault((event.model, event.alias), [])
        if event.previous != (stack[-1].version if stack else None):
            yield f"Event {event.seq} says that {event.model}@{event.alias} pointed at {event.previous} before."
        if UNDONE in event.details and stack:
            stack.pop()
            if not stack or stack.pop().version != event.version:
                yield f"Event {event.seq} rolled {event.model}@{event.alias} back to what was not live before."
        stack.append(event)


def _versions(connection: sa.Connection, blobs: BlobStore, *, deep: bool) -> Iterator[str]:
    query = sa.select(versions).order_by(versions.c.model, versions.c.number).execution_options(yield_per=200)
    for row in connection.execute(query):
        version = read_back(row.document, Version, "a version in the registry")
        if (version.model, version.number, version.digest) != (row.model, row.number, row.digest):
            yield f"The document of {row.model}@v{row.number} is that of another version."
        elif sealed(version) != version.digest:
            yield f"The document of {version.name} does not have its digest."
        refs = {ref.sha256 for ref in version.files}
        yield from _blobs(blobs, refs, version.name, deep=deep)


def _variants(connection: sa.Connection, blobs: BlobStore, *, deep: bool) -> Iterator[str]:
    for row in connection.execute(sa.select(variants).order_by(variants.c.id).execution_options(yield_per=200)):
        variant = read_back(row.document, Variant, "a variant in the registry")
        name = f"{row.model}@v{row.version} {row.target}"
        if variant.digest != row.digest:
            yield f"The document of {name} does not have its digest."
        yield from _blobs(blobs, {ref.sha256 for ref in variant.files}, name, deep=deep)


def _blobs(blobs: BlobStore, wanted: set[str], name: str, *, deep: bool) -> Iterator[str]:
    for sha256 in sorted(wanted):
        try:
            if deep:
                blobs.check(sha256)
            else:
                blobs.path(sha256)
        except WherryError as error:
            yield f"{name}: {error.message}"
