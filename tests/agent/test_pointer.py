"""The two-slot pointer: whatever happens to one slot, the other one holds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.agent.layout import Layout
from wherry.agent.pointer import SLOT_SIZE, Pointer, create_slots, decode_slot, encode_slot, read_pointer, write_pointer
from wherry.core.errors import StorageError

names = st.none() | st.integers(1, 9999).map(lambda number: f"{number}-v{number % 7}-0123456789ab")
pointers = st.builds(
    Pointer,
    seq=st.integers(0, 2**60),
    current=names,
    previous=names,
    trial=st.booleans(),
    attempts=st.integers(0, 100),
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path)
    found.state.mkdir()
    create_slots(found)
    return found


@given(pointers)
def test_a_slot_comes_back(pointer: Pointer) -> None:
    data = encode_slot(pointer)
    assert len(data) == SLOT_SIZE
    assert decode_slot(data) == pointer


@given(pointers, st.integers(0, SLOT_SIZE - 1), st.integers(1, 255))
def test_a_changed_slot_never_says_something_else(pointer: Pointer, place: int, change: int) -> None:
    data = bytearray(encode_slot(pointer))
    data[place] ^= change
    assert decode_slot(bytes(data)) in {None, pointer}


@given(pointers, pointers, st.integers(0, SLOT_SIZE))
def test_a_torn_slot_is_the_old_one_or_the_new_one_or_none(old: Pointer, new: Pointer, cut: int) -> None:
    torn = encode_slot(new)[:cut] + encode_slot(old)[cut:]
    assert decode_slot(torn) in {None, old, new}


@given(st.binary(max_size=600))
def test_rubbish_is_no_pointer(data: bytes) -> None:
    assert decode_slot(data) is None


def test_every_write_counts_on_and_spares_the_slot_in_effect(layout: Layout) -> None:
    for number in range(1, 6):
        before = [layout.pointer(slot).read_bytes() for slot in (0, 1)]
        written = write_pointer(layout, Pointer(current=str(number)))
        after = [layout.pointer(slot).read_bytes() for slot in (0, 1)]
        assert written.seq == number
        assert [one != two for one, two in zip(before, after, strict=True)].index(True) == number % 2
        assert read_pointer(layout) == written


@pytest.mark.parametrize("damage", [b"", b"{}", b"\0" * SLOT_SIZE, b'{"seq": "many"}'])
def test_a_damaged_slot_leaves_the_other_one(layout: Layout, damage: bytes) -> None:
    write_pointer(layout, Pointer(current="one"))
    write_pointer(layout, Pointer(current="two"))
    layout.pointer(0).write_bytes(damage)
    found = read_pointer(layout)
    assert found is not None
    assert found.current == "one"
    assert write_pointer(layout, Pointer(current="three")).seq == 2
    assert layout.pointer(0).stat().st_size == SLOT_SIZE


def test_both_slots_gone(layout: Layout) -> None:
    for slot in (0, 1):
        layout.pointer(slot).unlink()
    assert read_pointer(layout) is None
    create_slots(layout)
    assert read_pointer(layout) == Pointer()


def test_create_keeps_what_is_there(layout: Layout) -> None:
    written = write_pointer(layout, Pointer(current="one"))
    create_slots(layout)
    assert read_pointer(layout) == written


def test_a_slot_that_cannot_be_read(layout: Layout) -> None:
    layout.pointer(0).unlink()
    layout.pointer(0).mkdir()
    with pytest.raises(StorageError, match=r"pointer\.0\.json"):
        read_pointer(layout)
