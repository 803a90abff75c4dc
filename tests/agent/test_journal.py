"""The journal: chained, torn at the end, changed in the middle."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.agent.journal import GENESIS, Journal
from wherry.core.errors import StorageError


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def fill(journal: Journal, count: int) -> None:
    for number in range(count):
        journal.append("installed", release=f"release {number}", why="as asked", number=number)


def test_entries_come_back_in_order_and_chained(journal: Journal) -> None:
    assert journal.entries() == []
    assert journal.last() is None
    fill(journal, 3)
    entries = journal.entries()
    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert [entry.previous for entry in entries] == [GENESIS, entries[0].sha256, entries[1].sha256]
    assert entries[2] == journal.last()
    assert entries[2].details == {"number": 2}
    assert entries[2].message == "release 2: as asked"
    assert journal.problems() == []


@given(st.integers(0, 200), st.binary(max_size=20).filter(lambda data: b"\n" not in data))
def test_a_torn_last_line_is_left_out_and_cut_off(
    tmp_path_factory: pytest.TempPathFactory, cut: int, tail: bytes
) -> None:
    journal = Journal(tmp_path_factory.mktemp("journal") / "journal.jsonl")
    fill(journal, 3)
    whole = journal.path.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    journal.path.write_bytes(whole[: min(last + cut, len(whole) - 1)] + tail)
    assert [entry.seq for entry in journal.entries()] == [1, 2]
    assert journal.append("verified").seq == 3
    assert [entry.kind for entry in journal.entries()] == ["installed", "installed", "verified"]
    assert journal.problems() == []


def test_a_changed_line_shows(journal: Journal) -> None:
    fill(journal, 3)
    journal.path.write_bytes(journal.path.read_bytes().replace(b"release 1", b"release 7"))
    assert journal.problems() == ["Line 2 of the journal was changed after it was written."]


def test_a_removed_line_shows(journal: Journal) -> None:
    fill(journal, 3)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0] + lines[2])
    assert journal.problems() == ["Before line 2 of the journal something was removed or changed."]


def test_a_first_line_removed_shows(journal: Journal) -> None:
    fill(journal, 2)
    journal.path.write_bytes(journal.path.read_bytes().splitlines(keepends=True)[1])
    assert journal.problems() == ["Before line 1 of the journal something was removed or changed."]


@pytest.mark.parametrize("rubbish", [b"rubbish\n", b"\xff\xfe\n", b"[" * 5000 + b"\n", b'{"seq": 1}\n'])
def test_rubbish_in_the_middle_is_reported_and_passed_over(journal: Journal, rubbish: bytes) -> None:
    fill(journal, 1)
    with journal.path.open("ab") as file:
        file.write(rubbish)
    assert journal.append("verified").seq == 2
    assert [entry.kind for entry in journal.entries()] == ["installed", "verified"]
    assert journal.problems() == ["Line 2 of the journal was changed after it was written."]


def test_only_the_end_of_a_long_journal_is_read_to_append(journal: Journal) -> None:
    for _ in range(40):
        journal.append("installed", why="x" * 5000)
    journal.append("installed", why="y" * 90_000)
    assert journal.append("verified").seq == 42
    assert journal.problems() == []


def test_a_note_never_fails_and_an_append_says_why(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "no folder" / "journal.jsonl")
    journal.note("rolled_back", why="not healthy")
    with pytest.raises(StorageError, match="could not be read or written"):
        journal.append("installed")
