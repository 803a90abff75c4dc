"""Plugin families: one way to look a member up."""

import pytest

from wherry.core.errors import CheckpointError, NotFoundError
from wherry.core.family import look_up

TABLE = {"digest": "wherry.core.digest:short"}


def test_the_member_is_what_the_table_names() -> None:
    from wherry.core.digest import short

    assert look_up(TABLE, "digest", "tool") is short


def test_an_unknown_name_is_refused_with_what_exists() -> None:
    with pytest.raises(NotFoundError, match="There is no tool 'abacus'") as caught:
        look_up(TABLE, "abacus", "tool")
    assert caught.value.next_step == "Use one of digest."
    with pytest.raises(CheckpointError) as other:
        look_up(TABLE, "abacus", "tool", next_step="Count by hand.", error=CheckpointError)
    assert other.value.next_step == "Count by hand."
