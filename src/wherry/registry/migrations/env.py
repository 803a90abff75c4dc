"""Alembic's entry: run the missing steps inside the transaction that the caller has opened."""

from alembic import context

from wherry.registry.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
