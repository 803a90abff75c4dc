"""Bodies in gzip and deflate (zlib format), both ways, never larger than allowed."""

import zlib

from wherry.core.errors import BadInputError
from wherry.serving.refusal import RefusedRequestError

_WINDOW = {"gzip": 31, "deflate": 15}
"""`wbits` of zlib: 31 is a gzip header and trailer, 15 a zlib one."""
_LEVEL = 1
SUPPORTED = ", ".join(_WINDOW)


def decompress(body: bytes, encoding: str | None, limit: int) -> bytes:
    """Return the body as it was before `Content-Encoding`.

    Raises:
        RefusedRequestError: an unknown encoding (415), or more than `limit` bytes come out (413).
        BadInputError: the body is damaged or truncated, or something follows its end.
    """
    coding = (encoding or "identity").strip().lower()
    if coding == "identity":
        return body
    if coding not in _WINDOW:
        msg = f"The Content-Encoding {coding[:40]!r} is not supported: use {SUPPORTED} or none."
        raise RefusedRequestError(msg, status=415, headers={"Accept-Encoding": SUPPORTED})
    stream = zlib.decompressobj(_WINDOW[coding])
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        msg = f"The body is not {coding}, although its Content-Encoding says so."
        raise BadInputError(msg) from error
    if len(plain) > limit:
        raise too_large(limit)
    if not stream.eof or stream.unused_data:
        msg = f"The {coding} body is truncated, or something follows its end."
        raise BadInputError(msg)
    return plain


def compress(body: bytes, coding: str) -> bytes:
    """Return the body in `coding`, which `accepted` has chosen; fast rather than small."""
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[coding])
    return stream.compress(body) + stream.flush()


def accepted(header: str | None) -> str | None:
    """Return the coding that `Accept-Encoding` likes best, or None for an uncompressed reply (RFC 9110, 12.5.3)."""
    best, best_weight = None, 0.0
    for part in (header or "").lower().split(","):
        coding, _, parameter = part.partition(";")
        weight = _weight(parameter)
        if coding.strip() in _WINDOW and weight > best_weight:
            best, best_weight = coding.strip(), weight
    return best


def too_large(limit: int) -> RefusedRequestError:
    """Return the refusal of a body over the limit."""
    return RefusedRequestError(f"The request body is larger than the {limit} bytes that are allowed.", status=413)


def _weight(parameter: str) -> float:
    key, _, value = parameter.partition("=")
    if key.strip() != "q":
        return 1.0
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0
