"""Versions: numbered, immutable, sealed, found again, and refused when they cannot be kept."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from wherry.core.codec import document_digest
from wherry.core.digest import FileRef
from wherry.core.errors import BadInputError, NotFoundError, UsageError
from wherry.core.model import TensorSpec, VersionRef
from wherry.registry import Registry

Call = Callable[..., Any]


def test_a_draft_becomes_a_version_with_everything_it_said(registry: Registry, make_draft: Call) -> None:
    draft = make_draft(registry)
    version = registry.register(draft, who="ada", why="first training")
    for name in ("model", "spec", "program", "checkpoint", "golden", "lineage", "metrics", "architecture", "tools"):
        assert getattr(version, name) == getattr(draft, name)
    assert (version.number, version.semantic_version, version.name) == (1, "1.0.0", "fire-detector@v1")
    assert version.digest == document_digest(replace(version, digest=""))
    assert datetime.fromisoformat(version.created_at).utcoffset() == timedelta(0)
    assert registry.version("fire-detector@v1") == version
    assert registry.version(VersionRef(model="fire-detector", number=1)) == version
    event = registry.events("fire-detector")[0]
    assert (event.kind, event.version, event.who, event.why) == ("registered", 1, "ada", "first training")


def test_the_files_of_a_version_come_back(registry: Registry, make_draft: Call, tmp_path: Path) -> None:
    (tmp_path / "golden.npz").write_bytes(b"images")
    draft = replace(make_draft(registry), golden=registry.put_file(tmp_path / "golden.npz"))
    version = registry.register(draft, who="ada", why="new")
    assert registry.read(version.golden.sha256) == b"images"
    main = registry.materialize((version.program, version.golden), tmp_path / "out")
    assert main.read_bytes() == registry.blob_path(version.program.sha256).read_bytes() == b"program one"
    assert (tmp_path / "out" / "golden.npz").read_bytes() == b"images"


def test_free_form_facts_travel_with_a_version(registry: Registry, make_draft: Call) -> None:
    facts = {"num_games": 1200, "policy_loss": 0.31, "training_session_id": "s-7", "device": "cpu"}
    registry.register(make_draft(registry, lineage={"facts": facts}), who="ada", why="self-play")
    assert registry.version("fire-detector@v1").lineage.facts == facts


def test_a_version_outlives_the_object_that_made_it(registry: Registry, register: Call) -> None:
    version = register("one")
    registry.close()
    with Registry.open(registry.root, create=False) as again:
        assert again.version("fire-detector@v1") == version


def test_the_same_content_is_the_same_version(registry: Registry, make_draft: Call, register: Call) -> None:
    draft = make_draft(registry, "one")
    assert registry.find_same(draft) is None
    first = register("one")
    again = replace(draft, metrics={"accuracy": 0.5}, lineage=replace(draft.lineage, notes="typed again"))
    assert registry.find_same(again) == first
    assert registry.register(again, who="bob", why="once more") == first
    assert len(registry.versions("fire-detector")) == 1
    assert len(registry.events("fire-detector")) == 1
    renamed = replace(draft, program=replace(draft.program, path="other-name.pt2"))
    assert registry.find_same(renamed) == first
    assert registry.find_same(replace(draft, model="another")) is None


@pytest.mark.parametrize("change", ["program", "golden", "spec", "dataset", "architecture"])
def test_other_content_is_another_version(registry: Registry, make_draft: Call, register: Call, change: str) -> None:
    register("one")
    draft = make_draft(registry, "one")
    changes = {
        "program": {"program": registry.put_bytes("p", b"other program")},
        "golden": {"golden": registry.put_bytes("g", b"other golden")},
        "spec": {"spec": replace(draft.spec, class_names=())},
        "dataset": {"lineage": replace(draft.lineage, dataset="f" * 64)},
        "architecture": {"architecture": "f" * 64},
    }
    other = replace(draft, **changes[change])
    assert registry.find_same(other) is None
    assert registry.register(other, who="ada", why="differs").number == 2


def test_the_semantic_version_is_derived_from_the_facts(registry: Registry, make_draft: Call) -> None:
    base = make_draft(registry)

    def after(content: str, **changes: Any) -> str:
        program = registry.put_bytes("p", content.encode())
        return registry.register(replace(base, program=program, **changes), who="a", why="b").semantic_version

    more = replace(base.lineage, dataset="e" * 64)
    wide = replace(base.spec, inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 3, 8, 8)),))
    named = replace(wide, outputs=(TensorSpec(name="scores", dtype="float32", shape=("batch", 10)),))
    assert after("1") == "1.0.0"
    assert after("2") == "1.0.1"
    assert after("3", lineage=more) == "1.1.0"
    assert after("4", lineage=more) == "1.1.1"
    assert after("5", lineage=more, architecture="b" * 64) == "2.0.0"
    assert after("6", lineage=more, architecture="b" * 64, spec=wide) == "3.0.0"
    assert after("7", lineage=more, architecture="b" * 64, spec=named) == "4.0.0"
    assert after("8", lineage=more, architecture="b" * 64, spec=replace(named, class_names=())) == "4.0.1"


@pytest.mark.parametrize("field", ["program", "golden", "checkpoint"])
def test_a_draft_whose_blob_is_missing_is_refused(registry: Registry, make_draft: Call, field: str) -> None:
    missing = FileRef.of("gone.pt", b"never stored")
    draft = replace(make_draft(registry), **{field: (missing,) if field == "checkpoint" else missing})
    with pytest.raises(BadInputError, match=r"names gone\.pt, which is not in"):
        registry.register(draft, who="ada", why="new")
    assert registry.models() == []


def test_a_reference_with_the_wrong_size_is_refused(registry: Registry, make_draft: Call) -> None:
    draft = make_draft(registry)
    with pytest.raises(BadInputError, match="not in the registry"):
        registry.register(replace(draft, golden=replace(draft.golden, size=1)), who="ada", why="new")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"metrics": {"loss": math.nan}}, r"`\$\.metrics\.loss` is nan"),
        ({"lineage": {"loss": math.inf}}, r"`\$\.lineage\.loss` is inf"),
        ({"lineage": {"facts": {"curve": (1.0, -math.inf)}}}, r"curve\[1\]` is -inf"),
        ({"lineage": {"facts": {"where": Path("x")}}}, "Path"),
    ],
)
def test_what_json_cannot_carry_is_refused_before_it_is_written(
    registry: Registry, make_draft: Call, changes: dict[str, Any], where: str
) -> None:
    with pytest.raises(BadInputError, match=f"cannot be stored as JSON: .*{where}"):
        registry.register(make_draft(registry, **changes), who="ada", why="new")
    assert registry.models() == []


@pytest.mark.parametrize(("who", "why"), [("", "because"), ("ada", " ")])
def test_history_needs_a_name_and_a_reason(registry: Registry, make_draft: Call, who: str, why: str) -> None:
    with pytest.raises(BadInputError, match="History needs to know"):
        registry.register(make_draft(registry), who=who, why=why)


def test_a_model_name_must_be_one(registry: Registry, make_draft: Call) -> None:
    with pytest.raises(BadInputError, match="cannot be a model"):
        registry.register(make_draft(registry, model="../up"), who="ada", why="new")


def test_what_does_not_exist_is_said_with_what_does(registry: Registry, register: Call) -> None:
    with pytest.raises(NotFoundError) as raised:
        registry.version("fire-detector@v1")
    assert "empty" in raised.value.next_step
    register("one", "two")
    register("x", model="chess")
    with pytest.raises(NotFoundError, match="no model 'fire-detectr'") as raised:
        registry.version("fire-detectr@v1")
    assert raised.value.next_step == "There is fire-detector."
    with pytest.raises(NotFoundError) as raised:
        registry.version("zzz@production")
    assert raised.value.next_step == "There is chess, fire-detector."
    with pytest.raises(NotFoundError, match="no version v3") as raised:
        registry.version("fire-detector@v3")
    assert raised.value.next_step == "It has v1 to v2."
    with pytest.raises(NotFoundError, match="no alias 'production'") as raised:
        registry.version("fire-detector@production")
    assert "no aliases yet" in raised.value.next_step
    registry.promote("fire-detector@v1", "current_best", who="ada", why="good")
    with pytest.raises(NotFoundError, match="no alias 'production'") as raised:
        registry.version(VersionRef(model="fire-detector", alias="production"))
    assert raised.value.next_step == "Its aliases are current_best."
    for call in (registry.versions, registry.aliases, registry.events):
        with pytest.raises(NotFoundError, match="no model"):
            call("nobody")
    with pytest.raises(UsageError):
        registry.version("fire-detector")


def test_versions_come_in_pages_newest_first(registry: Registry, register: Call) -> None:
    register(*(str(number) for number in range(7)))
    first = registry.versions("fire-detector", limit=3)
    second = registry.versions("fire-detector", before=first[-1].number, limit=3)
    third = registry.versions("fire-detector", before=second[-1].number, limit=3)
    assert [[version.number for version in page] for page in (first, second, third)] == [[7, 6, 5], [4, 3, 2], [1]]
    assert registry.versions("fire-detector", before=1) == []
    with pytest.raises(BadInputError, match="page of 0"):
        registry.versions("fire-detector", limit=0)


def test_models_are_listed_in_order(registry: Registry, register: Call) -> None:
    for name in ("b", "a", "c"):
        register("one", model=name)
    assert registry.models() == ["a", "b", "c"]


@pytest.mark.parametrize("table", ["versions", "events", "variants", "reports", "measurements"])
def test_the_database_itself_refuses_to_change_what_was_written(
    registry: Registry,
    register: Call,
    make_variant: Call,
    make_report: Call,
    make_measurement: Call,
    table: str,
) -> None:
    variant = make_variant(registry, register("one"))
    registry.put_variant(variant)
    registry.put_report(variant, make_report(variant))
    registry.put_measurement(make_measurement(variant))
    column = "at" if table == "events" else "document"
    for statement in (f"UPDATE {table} SET {column} = '{{}}'", f"DELETE FROM {table}"):
        with pytest.raises(sa.exc.IntegrityError, match="never changed"), registry._database.write() as connection:
            connection.execute(sa.text(statement))


@pytest.mark.parametrize("statement", ["page", "get", "head", "alias"])
def test_lists_are_read_from_an_index(registry: Registry, statement: str) -> None:
    queries = {
        "page": "SELECT document FROM versions WHERE model = 'm' AND number < 9 ORDER BY number DESC LIMIT 50",
        "get": "SELECT document FROM versions WHERE model = 'm' AND number = 9",
        "head": "SELECT * FROM events WHERE model = 'm' AND seq < 9 ORDER BY seq DESC LIMIT 100",
        "alias": "SELECT version FROM events WHERE model = 'm' AND alias = 'a' AND at <= 'x' ORDER BY seq DESC LIMIT 1",
    }
    with registry._database.read() as connection:
        plan = [row.detail for row in connection.execute(sa.text(f"EXPLAIN QUERY PLAN {queries[statement]}"))]
    assert all("SEARCH" in line and "INDEX" in line for line in plan), plan
