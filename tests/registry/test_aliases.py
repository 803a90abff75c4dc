"""Aliases and history: compare and swap, rollback without ping-pong, what was live then, and the fold."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.core.errors import BadInputError, ConflictError, NotFoundError, RefusedError
from wherry.registry import Registry
from wherry.registry.events import fold, parse_instant

Call = Callable[..., Any]
MODEL = "fire-detector"


@pytest.fixture
def three(registry: Registry, register: Call) -> Registry:
    register("one", "two", "three")
    return registry


def promote(registry: Registry, number: int, alias: str = "production", **options: Any) -> Any:
    return registry.promote(f"{MODEL}@v{number}", alias, who="ada", why=f"v{number} is better", **options)


def rollback(registry: Registry) -> int:
    return int(registry.rollback(MODEL, "production", who="bob", why="alarm").version)


def test_a_move_is_an_event_that_says_who_when_and_why(three: Registry) -> None:
    promote(three, 1)
    event = promote(three, 2)
    assert (event.kind, event.version, event.previous, event.alias) == ("alias_moved", 2, 1, "production")
    assert (event.who, event.why) == ("ada", "v2 is better")
    assert three.aliases(MODEL) == {"production": 2}
    assert three.version(f"{MODEL}@production").number == 2
    assert three.events(MODEL)[0] == event
    assert three.events()[0] == event


def test_an_alias_can_be_moved_to_what_another_one_means(three: Registry) -> None:
    promote(three, 3, "current_best")
    event = three.promote(f"{MODEL}@current_best", "production", who="ada", why="release")
    assert event.version == 3
    assert three.aliases(MODEL) == {"current_best": 3, "production": 3}


def test_compare_and_swap(three: Registry) -> None:
    promote(three, 1, expected=None)
    with pytest.raises(ConflictError, match="points at v1 and not at nothing"):
        promote(three, 2, expected=None)
    with pytest.raises(ConflictError, match="points at v1 and not at v3"):
        promote(three, 2, expected=3)
    with pytest.raises(ConflictError, match="points at nothing and not at v1"):
        promote(three, 2, "staging", expected=1)
    assert three.aliases(MODEL) == {"production": 1}
    assert promote(three, 2, expected=1).previous == 1


def test_moving_to_where_it_is_writes_nothing(three: Registry) -> None:
    promote(three, 1)
    event = promote(three, 2)
    assert promote(three, 2) == event
    assert promote(three, 2, expected=2) == event
    assert rollback(three) == 1


def test_rolling_back_walks_back_and_never_forth(three: Registry) -> None:
    for number in (1, 2, 3):
        promote(three, number)
    assert rollback(three) == 2
    assert rollback(three) == 1
    with pytest.raises(RefusedError, match="Nothing was live before") as raised:
        rollback(three)
    assert raised.value.exit_code == 3
    assert three.aliases(MODEL) == {"production": 1}


def test_a_version_that_was_rolled_back_is_not_come_back_to(three: Registry) -> None:
    promote(three, 1)
    bad = promote(three, 2)
    assert three.rollback(MODEL, "production", who="bob", why="alarm").details == {"rollback_of": bad.seq}
    promote(three, 3)
    assert rollback(three) == 1


def test_what_cannot_be_moved_is_said(three: Registry) -> None:
    with pytest.raises(NotFoundError, match="no version v9"):
        promote(three, 9)
    with pytest.raises(NotFoundError, match="no model"):
        three.promote("nobody@v1", "production", who="ada", why="x")
    with pytest.raises(BadInputError, match="name of a version"):
        promote(three, 1, "v2")
    with pytest.raises(BadInputError, match="cannot be an alias"):
        promote(three, 1, "a/b")
    with pytest.raises(BadInputError, match="why"):
        three.promote(f"{MODEL}@v1", "production", who="ada", why="  ")
    with pytest.raises(NotFoundError, match="no alias"):
        three.rollback(MODEL, "production", who="ada", why="x")
    with pytest.raises(NotFoundError, match="no model"):
        three.rollback("nobody", "production", who="ada", why="x")
    promote(three, 1)
    promote(three, 2)
    with pytest.raises(BadInputError, match="who"):
        three.rollback(MODEL, "production", who="", why="x")
    assert three.aliases(MODEL) == {"production": 2}


def test_what_was_live_then(three: Registry) -> None:
    moves = [promote(three, number) for number in (1, 2, 3)]
    promote(three, 1, "staging")
    back = three.rollback(MODEL, "production", who="bob", why="alarm")
    assert three.alias_at(MODEL, "production", "2001-01-01T00:00:00+00:00") is None
    assert [three.alias_at(MODEL, "production", move.at) for move in (*moves, back)] == [1, 2, 3, 2]
    assert three.alias_at(MODEL, "production", "2999-01-01T00:00:00Z") == 2
    assert three.alias_at(MODEL, "nobody", "2999-01-01") is None
    with pytest.raises(BadInputError, match="'last Tuesday' is not a time"):
        three.alias_at(MODEL, "production", "last Tuesday")
    with pytest.raises(NotFoundError):
        three.alias_at("nobody", "production", "2026-01-01")


def test_times_are_compared_in_utc() -> None:
    assert parse_instant("2026-11-17T14:03:00+02:00") == "2026-11-17T12:03:00.000000+00:00"
    assert parse_instant("2026-11-17T12:03") == "2026-11-17T12:03:00.000000+00:00"
    with pytest.raises(BadInputError):
        parse_instant("0001-01-01T00:00:00+23:00")


def test_history_comes_in_pages_newest_first(three: Registry) -> None:
    promote(three, 1)
    first = three.events(MODEL, limit=2)
    second = three.events(before=first[-1].seq, limit=2)
    assert [event.seq for event in (*first, *second)] == [4, 3, 2, 1]
    with pytest.raises(BadInputError, match="page of -1"):
        three.events(limit=-1)


def test_releases_are_counted_for_each_product(three: Registry) -> None:
    def release(product: str, version: int) -> Any:
        return three.next_release(product, MODEL, version, who="ada", why="ship", details={"bundle": "b.zip"})

    first = release("EmberEye", 1)
    assert (first.kind, first.version) == ("released", 1)
    assert first.details == {"bundle": "b.zip", "product": "EmberEye", "release": 1}
    assert release("EmberEye", 2).details["release"] == 2
    assert release("Other", 2).details["release"] == 1
    # An old version goes out again under a new, higher number: that is how a rollback by decision works.
    assert release("EmberEye", 1).details["release"] == 3
    assert three.events(MODEL)[0].details["release"] == 3
    with pytest.raises(NotFoundError):
        release("EmberEye", 9)
    with pytest.raises(BadInputError, match="cannot be a product"):
        release("no/name", 1)
    with pytest.raises(BadInputError, match="cannot be stored as JSON"):
        three.next_release("EmberEye", MODEL, 1, who="ada", why="x", details={"path": Path("x")})
    assert release("EmberEye", 1).details["release"] == 4


class Naive:
    """The plainest thing that could be right: a list of versions for each alias."""

    def __init__(self) -> None:
        self.stacks: dict[str, list[int]] = {}

    def promote(self, alias: str, number: int) -> None:
        stack = self.stacks.setdefault(alias, [])
        if not stack or stack[-1] != number:
            stack.append(number)

    def rollback(self, alias: str) -> int | None:
        stack = self.stacks.get(alias, [])
        if len(stack) < 2:
            return None
        stack.pop()
        return stack[-1]

    def live(self) -> dict[str, int]:
        return {alias: stack[-1] for alias, stack in self.stacks.items()}


ALIASES = st.sampled_from(["production", "current_best"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register")),
        st.tuples(st.just("promote"), ALIASES, st.integers(1, 5)),
        st.tuples(st.just("rollback"), ALIASES),
    ),
    max_size=14,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry.open(tmp_path_factory.mktemp("shared") / "registry") as opened:
        yield opened


NAMES = itertools.count()


@given(steps=STEPS)
@settings(max_examples=15, deadline=None)
def test_the_aliases_are_the_fold_over_the_events(shared: Registry, make_draft: Call, steps: list[Any]) -> None:
    model, naive, count = f"model-{next(NAMES)}", Naive(), 1
    draft = replace(make_draft(shared), model=model)
    shared.register(draft, who="ada", why="new")
    told: list[tuple[str, dict[str, int]]] = []
    for verb, *rest in steps:
        if verb == "register":
            count += 1
            fresh = replace(draft, architecture=str(count))
            assert shared.register(fresh, who="ada", why="new").number == count
        elif verb == "promote":
            alias, number = rest[0], min(rest[1], count)
            shared.promote(f"{model}@v{number}", alias, who="ada", why="x")
            naive.promote(alias, number)
        else:
            expected = naive.rollback(rest[0])
            if expected is None:
                with pytest.raises((RefusedError, NotFoundError)):
                    shared.rollback(model, rest[0], who="ada", why="x")
            else:
                assert shared.rollback(model, rest[0], who="ada", why="x").version == expected
        told.append((shared.events(model, limit=1)[0].at, naive.live()))
    history = shared.events(model, limit=1000)[::-1]
    assert shared.aliases(model) == naive.live()
    assert fold(history) == {(model, alias): number for alias, number in naive.live().items()}
    for at, live in told:
        assert {alias: shared.alias_at(model, alias, at) for alias in live} == live
    assert shared.verify() == []
