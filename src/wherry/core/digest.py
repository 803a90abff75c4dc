"""Digests: the name of a thing is the sha256 of its bytes."""

import hashlib
import re
from dataclasses import dataclass

from wherry.core.errors import BadInputError

_HEX = re.compile(r"[0-9a-f]{64}")
SHORT_LENGTH = 12


def sha256_hex(data: bytes) -> str:
    """Return the sha256 of `data` as 64 lower-case hex characters (FIPS 180-4)."""
    return hashlib.sha256(data).hexdigest()


def check_sha256(text: str) -> str:
    """Return `text` if it is 64 lower-case hex characters.

    Raises:
        BadInputError: it is anything else.
    """
    if not _HEX.fullmatch(text):
        msg = f"{text!r} is not a sha256 digest (64 lower-case hex characters)."
        raise BadInputError(msg)
    return text


def short(digest: str) -> str:
    """Return the first 12 characters, for people to read; never for comparison."""
    return digest[:SHORT_LENGTH]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """A file by content: where it lies below its document, how long it is, and what it is."""

    path: str
    """Relative POSIX path."""
    size: int
    """Length in bytes."""
    sha256: str
    """64 lower-case hex characters."""

    @classmethod
    def of(cls, path: str, data: bytes) -> "FileRef":
        """Return the reference of `data` under `path`."""
        return cls(path=path, size=len(data), sha256=sha256_hex(data))
