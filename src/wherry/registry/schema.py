"""The tables, as the newest migration leaves them. A test compares the two."""

from sqlalchemy import Column, ForeignKeyConstraint, Index, Integer, MetaData, Table, Text, UniqueConstraint

SCHEMA = 1
"""The newest migration's number; a database with a higher one is from a newer wherry."""

metadata = MetaData()

models = Table("models", metadata, Column("name", Text, primary_key=True))

versions = Table(
    "versions",
    metadata,
    Column("model", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("semantic_version", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("content", Text, nullable=False, comment="digest of what makes two registrations the same"),
    Column("created_at", Text, nullable=False),
    Column("document", Text, nullable=False, comment="core.model.Version as canonical JSON"),
    ForeignKeyConstraint(["model"], ["models.name"], name="fk_versions_model"),
    UniqueConstraint("model", "content", name="uq_versions_content"),
)

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("alias", Text),
    Column("previous", Integer),
    Column("details", Text, nullable=False),
    Column("beneath", Integer, comment="seq of the alias event that a rollback of this one returns to"),
    Column("product", Text),
    Column("release", Integer),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"], name="fk_events_version"),
    Index("ix_events_model", "model", "seq"),
    Index("ix_events_alias", "model", "alias", "seq"),
    Index("uq_events_release", "product", "release", unique=True),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("seq", Integer, nullable=False, comment="the event that moved it here"),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"], name="fk_aliases_version"),
    ForeignKeyConstraint(["seq"], ["events.seq"], name="fk_aliases_event"),
)

variants = Table(
    "variants",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("target", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("document", Text, nullable=False, comment="core.variant.Variant as canonical JSON"),
    ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"], name="fk_variants_version"),
    Index("ix_variants_target", "model", "version", "target", "id"),
    Index("ix_variants_digest", "digest"),
)

reports = Table(
    "reports",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("variant", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("document", Text, nullable=False, comment="core.report.Report as canonical JSON"),
    Index("ix_reports_variant", "variant", "id"),
)

measurements = Table(
    "measurements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("variant", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("document", Text, nullable=False, comment="core.report.Measurement as canonical JSON"),
    Index("ix_measurements_variant", "variant", "id"),
)
