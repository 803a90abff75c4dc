"""No prefix and no flipped byte of a checkpoint makes the scan crash, and no prefix passes."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoint import assemble as a
from wherry.checkpoint.scan import scan

WHOLE = {
    "zip": a.torch_zip(a.state_dict(a.tensor())),
    "legacy": a.legacy(a.state_dict(a.tensor())),
    "safetensors": a.safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "pt2": a.pt2(),
}


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE.keys())
def test_no_prefix_passes(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        assert not scan(path).clean, length
    path.write_bytes(whole)
    assert scan(path).clean


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE.keys())
def test_nothing_can_be_added_in_front_or_behind(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "longer"
    for longer in (whole + b"\x00", b"\x00" + whole, whole + whole):
        path.write_bytes(longer)
        assert not scan(path).clean


@given(
    data=st.binary(max_size=200),
    head=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95", b"\x10" + bytes(7) + b"{"]),
)
@settings(max_examples=300, deadline=None)
def test_noise_never_crashes_the_scan_and_never_passes(
    data: bytes, head: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(head + data)

    assert not scan(path).clean


@given(position=st.integers(min_value=0), value=st.integers(0, 255), kind=st.sampled_from(sorted(WHOLE)))
@settings(max_examples=300, deadline=None)
def test_a_flipped_byte_never_crashes_the_scan(
    position: int, value: int, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = bytearray(WHOLE[kind])
    raw[position % len(raw)] = value
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(raw)

    assert scan(path).verdict in ("clean", "refused")
