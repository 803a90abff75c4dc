"""The first schema: versions, events, aliases, and the documents of variants."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

IMMUTABLE = ("versions", "events", "variants", "reports", "measurements")


def upgrade() -> None:
    """Make the tables and the triggers that keep history as it was written."""
    _history()
    _state()
    _documents()
    for table in IMMUTABLE:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} are never changed and never removed'); END"
            )


def _history() -> None:
    op.create_table("models", sa.Column("name", sa.Text, primary_key=True))
    op.create_table(
        "versions",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("semantic_version", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name="fk_versions_model"),
        sa.UniqueConstraint("model", "content", name="uq_versions_content"),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("at", "who", "why", "kind", "model")),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("alias", sa.Text),
        sa.Column("previous", sa.Integer),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("beneath", sa.Integer),
        sa.Column("product", sa.Text),
        sa.Column("release", sa.Integer),
        sa.ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"], name="fk_events_version"),
    )
    op.create_index("ix_events_model", "events", ["model", "seq"])
    op.create_index("ix_events_alias", "events", ["model", "alias", "seq"])
    op.create_index("uq_events_release", "events", ["product", "release"], unique=True)


def _state() -> None:
    op.create_table(
        "aliases",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("alias", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["model", "version"], ["versions.model", "versions.number"], name="fk_aliases_version"),
        sa.ForeignKeyConstraint(["seq"], ["events.seq"], name="fk_aliases_event"),
    )


def _documents() -> None:
    op.create_table(
        "variants",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("target", "digest", "document")),
        sa.ForeignKeyConstraint(
            ["model", "version"], ["versions.model", "versions.number"], name="fk_variants_version"
        ),
    )
    op.create_index("ix_variants_target", "variants", ["model", "version", "target", "id"])
    op.create_index("ix_variants_digest", "variants", ["digest"])
    for table, columns in (("reports", ("verdict", "place", "at")), ("measurements", ("machine", "at"))):
        op.create_table(
            table,
            sa.Column("id", sa.Integer, primary_key=True),
            *(sa.Column(name, sa.Text, nullable=False) for name in ("variant", *columns)),
            sa.Column("digest", sa.Text, nullable=False, unique=True),
            sa.Column("document", sa.Text, nullable=False),
        )
        op.create_index(f"ix_{table}_variant", table, ["variant", "id"])
