"""The database beside the blobs: opening, migrating, transactions, and its errors in one sentence."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from wherry.core.errors import BadInputError, BusyError, StorageError, WherryError
from wherry.registry.schema import SCHEMA, metadata

FILE_NAME = "registry.sqlite"
BUSY_SECONDS = 30.0
"""How long a writer waits for the other writers before it gives up."""
_BEGIN = "wherry_begin"


class Database:
    """Transactions on an up-to-date schema.

    A write transaction takes the write lock at once (`BEGIN IMMEDIATE`), so what it reads cannot change before it
    writes; writers queue, readers never wait (WAL).
    """

    def __init__(self, folder: Path) -> None:
        """Open the database in `folder`; make it, or bring it up to date, where that is needed.

        Raises:
            BadInputError: the file is not a registry, or it was written by a newer wherry.
            StorageError: the file cannot be written.
        """
        self.file = folder / FILE_NAME
        if self.file.exists() and not os.access(self.file, os.W_OK):
            msg = f"The registry in {folder} cannot be written: permission denied."
            raise StorageError(msg)
        self._engine = sa.create_engine(sa.URL.create("sqlite", database=str(self.file)))
        sa.event.listen(self._engine, "connect", _prepare)
        sa.event.listen(self._engine, "begin", _begin)
        try:
            self._bring_up_to_date()
        except WherryError:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection with one consistent view of everything."""
        with self._narrowed(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a connection that holds the write lock; all is written at the end, or nothing after an error."""
        with self._narrowed(), self._engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}).begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def _bring_up_to_date(self) -> None:
        with self.read() as connection:
            number = self._schema_number(connection)
        if number == SCHEMA:
            return
        self._use_write_ahead_log()
        with self.write() as connection:
            # Another process may have been quicker.
            if self._schema_number(connection) != SCHEMA:
                _migrate(connection)

    def _schema_number(self, connection: sa.Connection) -> int:
        """Return the schema's number, 0 for an empty database."""
        tables = set(sa.inspect(connection).get_table_names())
        if not tables:
            return 0
        row = None
        if "alembic_version" in tables and not tables.isdisjoint(metadata.tables):
            row = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
        if row is None or not str(row).isdigit():
            raise self._not_a_registry()
        number = int(row)
        if number > SCHEMA:
            msg = f"The registry in {self.file.parent} has schema {number}, and this wherry reads schema {SCHEMA}."
            raise BadInputError(msg, next_step="Update wherry on this machine, then try again; nothing was changed.")
        return number

    def _use_write_ahead_log(self) -> None:
        """Switch to WAL, which is kept in the file. SQLite does not queue for this one, so wait here."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with self._narrowed(), self._engine.connect() as connection:
                    driver: Any = connection.connection.dbapi_connection
                    driver.execute("PRAGMA journal_mode = WAL")
            except BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def _not_a_registry(self) -> BadInputError:
        msg = f"{self.file} is not a registry of wherry."
        return BadInputError(msg, next_step="Name another folder, or move that file away; it was not changed.")

    @contextmanager
    def _narrowed(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            narrow = self._narrow(error)
            if narrow is None:
                raise
            raise narrow from error

    def _narrow(self, error: DBAPIError | sqlite3.Error) -> WherryError | None:
        cause = error.orig if isinstance(error, DBAPIError) else error
        name = getattr(cause, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            msg = f"Another process has been writing to the registry in {self.file.parent} for too long."
            return BusyError(msg)
        if name.startswith("SQLITE_NOTADB"):
            return self._not_a_registry()
        if name.startswith("SQLITE_CORRUPT"):
            msg = f"{self.file} is damaged: {cause}."
            return BadInputError(msg, next_step="Restore the file from a backup; the blobs beside it are not touched.")
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PERM")):
            msg = f"The registry in {self.file.parent} cannot be written: {cause}."
            return StorageError(msg)
        return None


def _prepare(driver: Any, _record: object) -> None:
    # sqlite3 must not begin transactions by itself: `_begin` says when and how.
    driver.isolation_level = None
    driver.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    driver.execute("PRAGMA foreign_keys = ON")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


def _migrate(connection: sa.Connection) -> None:
    # Alembic takes longer to import than an up-to-date registry takes to open.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
