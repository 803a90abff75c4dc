import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.core.errors import BadInputError
from wherry.serving.compression import accepted, compress, decompress
from wherry.serving.refusal import RefusedRequestError


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate"]))
def test_round_trip(body: bytes, coding: str) -> None:
    packed = compress(body, coding)
    assert decompress(packed, coding, 2000) == body
    assert (gzip.decompress(packed) if coding == "gzip" else zlib.decompress(packed)) == body


@pytest.mark.parametrize("encoding", [None, "", "identity", " Identity "])
def test_plain(encoding: str | None) -> None:
    assert decompress(b"abc", encoding, 3) == b"abc"


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (b"", "gzip"),
        (b"abc", "gzip"),
        (gzip.compress(b"abc", mtime=0), "deflate"),
        (gzip.compress(b"abc", mtime=0) + b"x", "gzip"),
    ],
)
def test_damaged(body: bytes, coding: str) -> None:
    with pytest.raises(BadInputError):
        decompress(body, coding, 100)


@given(st.integers(0, 20))
def test_truncated(cut: int) -> None:
    with pytest.raises(BadInputError):
        decompress(gzip.compress(b"abc", mtime=0)[:cut], "gzip", 100)


def test_bomb_stops_at_the_limit() -> None:
    with pytest.raises(RefusedRequestError) as caught:
        decompress(gzip.compress(bytes(50_000_000)), "gzip", 1000)
    assert caught.value.status == 413


def test_unknown_encoding_names_the_known_ones() -> None:
    with pytest.raises(RefusedRequestError) as caught:
        decompress(b"", "br", 10)
    assert caught.value.status == 415
    assert caught.value.headers == {"Accept-Encoding": "gzip, deflate"}


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("br, zstd", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("GZIP", "gzip"),
        ("gzip, deflate", "gzip"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=x", None),
        ("gzip; q=1.0", "gzip"),
        ("*", None),
    ],
)
def test_accepted(header: str | None, coding: str | None) -> None:
    assert accepted(header) == coding
