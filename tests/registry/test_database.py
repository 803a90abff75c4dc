"""Opening: new, current, newer, foreign, damaged, locked; and the schema is what the migrations make."""

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from wherry.core.errors import BadInputError, BusyError, NotFoundError, StorageError
from wherry.registry import Registry, database
from wherry.registry.schema import SCHEMA, metadata


def test_a_new_registry_has_its_places_and_opens_again(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "registry"
    with Registry.open(root) as registry:
        assert registry.root == root
        assert registry.models() == []
    assert {path.name for path in root.iterdir()} == {"registry.sqlite", "blobs", "cache", "models"}
    with Registry.open(root, create=False) as registry:
        assert registry.models() == []


def test_a_relative_folder_stays_the_same_after_a_change_of_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Registry.open(Path("registry")) as registry:
        monkeypatch.chdir("/")
        ref = registry.put_bytes("x", b"x")
        assert registry.read(ref.sha256) == b"x"


def test_the_migrations_make_the_schema_that_the_code_reads(registry: Registry) -> None:
    engine = sa.create_engine(f"sqlite:///{registry.root / 'registry.sqlite'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        names = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
        assert names == [f"{SCHEMA:04}"]
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert set(metadata.tables) | {"alembic_version"} == set(sa.inspect(connection).get_table_names())
    engine.dispose()


@pytest.mark.slow
def test_opening_a_current_registry_does_not_load_alembic(registry: Registry) -> None:
    script = (
        "import sys; from pathlib import Path; from wherry.registry import Registry\n"
        "Registry.open(Path(sys.argv[1])).models()\n"
        "print(any(name.split('.')[0] == 'alembic' for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(registry.root)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"


def test_nothing_there_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no registry in"):
        Registry.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(StorageError, match="cannot be used") as raised:
        Registry.open(tmp_path / place)
    assert raised.value.exit_code == 7
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_database_that_cannot_be_opened_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        Registry.open(tmp_path)


@pytest.mark.parametrize("name", ["cache", "blobs"])
def test_a_place_that_is_taken_is_a_storage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(StorageError, match="cannot be used"):
        Registry.open(tmp_path)
    assert (tmp_path / name).read_bytes() == b"mine"


AS_NOBODY = """
import os, sys
from pathlib import Path
from wherry.core.errors import StorageError
from wherry.registry import Registry
if os.getuid() == 0:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
for place in ("existing", "new/registry", "half"):
    try:
        Registry.open(Path(sys.argv[1]) / place).models()
    except StorageError as error:
        print(error.message)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="folders have no mode on Windows")
def test_a_folder_without_permission_is_a_storage_error() -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for place in ("existing", "half"):
            Registry.open(top / place).close()
        (top / "new").mkdir()
        (top / "existing/registry.sqlite").chmod(0o444)
        (top / "half/registry.sqlite").chmod(0o666)
        for folder in (top / "existing", top / "new", top / "half", top):
            folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, name], capture_output=True, text=True, timeout=60, check=False
        )
        for folder in (top, top / "existing", top / "half"):
            folder.chmod(0o755)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all("cannot be" in line for line in lines), lines


def test_a_newer_schema_is_named_and_left_alone(registry: Registry) -> None:
    file = registry.root / "registry.sqlite"
    registry.close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    connection.close()
    with pytest.raises(BadInputError, match="has schema 99") as raised:
        Registry.open(registry.root)
    assert "Update wherry" in raised.value.next_step
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0099",)]
    connection.close()


def test_a_file_of_garbage_is_not_a_registry(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_bytes(b"garbage " * 1000)
    with pytest.raises(BadInputError, match="not a registry"):
        Registry.open(tmp_path)
    assert (tmp_path / "registry.sqlite").read_bytes() == b"garbage " * 1000


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE recipes (name TEXT)"],
        ["CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES ('0001')"],
        ["CREATE TABLE versions (x TEXT)", "CREATE TABLE alembic_version (version_num TEXT)"],
        [
            "CREATE TABLE versions (x TEXT)",
            "CREATE TABLE alembic_version (version_num TEXT)",
            "INSERT INTO alembic_version VALUES ('a1b2c3')",
        ],
    ],
)
def test_somebody_elses_database_is_not_touched(tmp_path: Path, statements: list[str]) -> None:
    connection = sqlite3.connect(tmp_path / "registry.sqlite")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    before = (tmp_path / "registry.sqlite").read_bytes()
    with pytest.raises(BadInputError, match="not a registry"):
        Registry.open(tmp_path)
    assert (tmp_path / "registry.sqlite").read_bytes() == before


def test_an_empty_database_becomes_a_registry(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_bytes(b"")
    with Registry.open(tmp_path) as registry:
        assert registry.verify() == []


def test_a_damaged_page_is_named(registry: Registry, register: Callable[..., Any]) -> None:
    register(*(f"content {number}" for number in range(8)))
    registry.close()
    file = registry.root / "registry.sqlite"
    data = bytearray(file.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 4096] = b"\xff" * 4096
    file.write_bytes(bytes(data))
    with pytest.raises(BadInputError, match=r"damaged|not a registry"), Registry.open(registry.root) as opened:
        opened.verify()


def test_a_writer_that_waits_too_long_gives_up(
    registry: Registry, register: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    register("one")
    other = sqlite3.connect(registry.root / "registry.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Registry.open(registry.root) as waiting:
        assert waiting.version("fire-detector@v1").number == 1
        with pytest.raises(BusyError, match="Another process"):
            waiting.promote("fire-detector@v1", "production", who="ada", why="now")
        other.execute("ROLLBACK")
        other.close()
        assert waiting.promote("fire-detector@v1", "production", who="ada", why="now").version == 1


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_new_database_that_is_locked_is_waited_for_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    other = sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)
    other.execute(f"BEGIN {lock}")
    try:
        with pytest.raises(BusyError):
            Registry.open(tmp_path)
    finally:
        other.close()


def test_other_errors_of_the_database_are_not_dressed_up(registry: Registry) -> None:
    with pytest.raises(sa.exc.OperationalError, match="no such table"), registry._database.read() as connection:
        connection.execute(sa.text("SELECT 1 FROM nowhere"))


def test_an_error_inside_a_transaction_writes_nothing(registry: Registry, register: Callable[..., Any]) -> None:
    register("one")

    def half_way() -> None:
        with registry._database.write() as connection:
            connection.execute(sa.text("INSERT INTO models (name) VALUES ('half')"))
            raise KeyError

    with pytest.raises(KeyError):
        half_way()
    assert registry.models() == ["fire-detector"]
