"""Variants, reports and measurements: documents that are only ever added."""

from typing import Any, TypeVar

import sqlalchemy as sa

from wherry.core.codec import document_digest
from wherry.core.digest import short
from wherry.core.errors import BadInputError, NotFoundError
from wherry.core.report import Measurement, Report
from wherry.core.variant import Variant
from wherry.registry.paper import read_back, write_down
from wherry.registry.schema import measurements, reports, variants
from wherry.registry.versions import get

D = TypeVar("D", Report, Measurement)


def put_variant(connection: sa.Connection, variant: Variant) -> None:
    """Make `variant` the present one for its version and target; nothing is written if it is already.

    Raises:
        NotFoundError: no such version.
        BadInputError: it was made from other content than that version's, or holds what JSON cannot carry.
    """
    version = get(connection, variant.model, variant.version)
    if variant.version_digest != version.digest:
        msg = f"The variant {variant.name} was made from {short(variant.version_digest)}, which is not {version.name}."
        raise BadInputError(msg, next_step="Export it again from the registered version.")
    newest = connection.execute(_of_target(variant.model, variant.version, variant.name)).first()
    if newest is not None and newest.digest == variant.digest:
        return
    _, text = write_down(variant, Variant, f"the variant {variant.name}")
    row = {
        "model": variant.model,
        "version": variant.version,
        "target": variant.name,
        "digest": variant.digest,
        "document": text,
    }
    connection.execute(variants.insert().values(**row))


def present_variants(connection: sa.Connection, model: str, number: int) -> list[Variant]:
    """Return the newest variant of each target, in the order of the targets' names.

    Raises:
        NotFoundError: no such version.
    """
    get(connection, model, number)
    newest = (
        sa.select(sa.func.max(variants.c.id))
        .where(variants.c.model == model, variants.c.version == number)
        .group_by(variants.c.target)
    )
    query = sa.select(variants.c.document).where(variants.c.id.in_(newest)).order_by(variants.c.target)
    return [_variant(text) for text in connection.execute(query).scalars()]


def present_variant(connection: sa.Connection, model: str, number: int, target: str) -> Variant:
    """Return the newest variant of that target.

    Raises:
        NotFoundError: no such version, or it has no such variant; the next step names those it has.
    """
    row = connection.execute(_of_target(model, number, target)).first()
    if row is not None:
        return _variant(row.document)
    known = ", ".join(variant.name for variant in present_variants(connection, model, number))
    msg = f"{model}@v{number} has no variant {target!r}."
    step = f"It has {known}." if known else "Make it first with `wherry export`."
    raise NotFoundError(msg, next_step=step)


def put_report(connection: sa.Connection, report: Report) -> None:
    """Keep what a proof found; the same report again changes nothing.

    Raises:
        BadInputError: its variant is not in the registry, or it holds what JSON cannot carry.
    """
    columns = {"verdict": str(report.verdict), "place": report.where, "at": report.at}
    _put(connection, reports, report, Report, columns)


def put_measurement(connection: sa.Connection, measurement: Measurement) -> None:
    """Keep a measurement; the same measurement again changes nothing.

    Raises:
        BadInputError: its variant is not in the registry, or it holds what JSON cannot carry.
    """
    columns = {"machine": measurement.machine, "at": measurement.at}
    _put(connection, measurements, measurement, Measurement, columns)


def reports_of(connection: sa.Connection, variant: str) -> list[Report]:
    """Return the reports on the variant with that digest, newest first."""
    return _of_variant(connection, reports, variant, Report)


def measurements_of(connection: sa.Connection, variant: str) -> list[Measurement]:
    """Return the measurements of the variant with that digest, newest first."""
    return _of_variant(connection, measurements, variant, Measurement)


def _of_target(model: str, number: int, target: str) -> sa.Select[Any]:
    return (
        sa.select(variants.c.digest, variants.c.document)
        .where(variants.c.model == model, variants.c.version == number, variants.c.target == target)
        .order_by(variants.c.id.desc())
        .limit(1)
    )


def _put(connection: sa.Connection, table: sa.Table, document: D, kind: type[D], columns: dict[str, str]) -> None:
    what = f"the {kind.__name__.lower()} on {document.target}"
    known = connection.execute(sa.select(variants.c.id).where(variants.c.digest == document.variant).limit(1)).first()
    if known is None:
        msg = f"The variant {short(document.variant)} that {what} is about is not in the registry."
        raise BadInputError(msg, next_step="Put the variant in first.")
    _, text = write_down(document, kind, what)
    digest = document_digest(document)
    if connection.execute(sa.select(table.c.id).where(table.c.digest == digest)).first() is None:
        connection.execute(table.insert().values(variant=document.variant, digest=digest, document=text, **columns))


def _of_variant(connection: sa.Connection, table: sa.Table, variant: str, kind: type[D]) -> list[D]:
    query = sa.select(table.c.document).where(table.c.variant == variant).order_by(table.c.id.desc())
    what = f"a {kind.__name__.lower()} in the registry"
    return [read_back(text, kind, what) for text in connection.execute(query).scalars()]


def _variant(text: str) -> Variant:
    return read_back(text, Variant, "a variant in the registry")
