"""The audit finds what somebody changed behind the registry's back."""

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from wherry.registry import Registry

Call = Callable[..., Any]
MODEL = "fire-detector"


@pytest.fixture
def full(registry: Registry, register: Call, make_variant: Call) -> Registry:
    version = register("one", "two")
    registry.put_variant(make_variant(registry, version))
    for number in (1, 2):
        registry.promote(f"{MODEL}@v{number}", "production", who="ada", why="better")
    registry.rollback(MODEL, "production", who="bob", why="alarm")
    registry.next_release("EmberEye", MODEL, 1, who="ada", why="ship")
    assert registry.verify(deep=True) == []
    return registry


def tamper(registry: Registry, *statements: str) -> None:
    connection = sqlite3.connect(registry.root / "registry.sqlite")
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        assert connection.execute(statement).rowcount > 0
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE aliases SET version = 2", "points at 2, and the events say 1"),
        ("DELETE FROM aliases", "points at None, and the events say 1"),
        ("DELETE FROM events WHERE seq = 4", "gap before number 5"),
        ("UPDATE events SET previous = 7 WHERE seq = 4", "Event 4 says"),
        ("UPDATE events SET version = 2 WHERE seq = 5", "rolled fire-detector@production back to what was not live"),
        ("UPDATE events SET details = '{\"rollback_of\": 3}' WHERE seq = 4", "Event 4 rolled"),
        (
            "UPDATE versions SET document = replace(document, '1000', '9000') WHERE number = 1",
            "does not have its digest",
        ),
        ("UPDATE versions SET digest = 'x' WHERE number = 1", "is that of another version"),
        ("UPDATE variants SET digest = 'x'", "fire-detector@v2 onnx-fp32 does not have its digest"),
    ],
)
def test_a_change_behind_its_back_is_found(full: Registry, statement: str, finding: str) -> None:
    tamper(full, statement)
    assert any(finding in line for line in full.verify()), full.verify()


def test_a_missing_blob_is_found(full: Registry) -> None:
    full.blob_path(full.version(f"{MODEL}@v1").program.sha256).unlink()
    findings = full.verify()
    assert len(findings) == 1
    assert findings[0].startswith("fire-detector@v1: There is no blob")


def test_a_damaged_blob_is_found_when_asked_to_look_deep(full: Registry) -> None:
    path = full.blob_path(full.variant(MODEL, 2, "onnx-fp32").files[0].sha256)
    size = path.stat().st_size
    path.unlink()
    path.write_bytes(b"x" * size)
    assert full.verify() == []
    findings = full.verify(deep=True)
    assert len(findings) == 1
    assert "damaged" in findings[0]
