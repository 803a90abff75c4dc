"""Trusted: a manifest whose signatures, expiry and versions were checked, and the opened bundle behind it."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from wherry.bundle.container import BundleReader
from wherry.core.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Made in one place only: `wherry.bundle.trust.verify.verify`. Use as a context manager, or call `close`.

    Of the bundle's bytes, the manifest and the companions have been checked; blobs are checked while they are fetched.
    """

    manifest: Manifest
    manifest_bytes: bytes
    manifest_sha256: str
    source: BundleReader
    expires: str
    """Until when the signatures are valid, ISO 8601 UTC."""
    metadata_versions: dict[str, int]
    """TUF versions by role."""

    def close(self) -> None:
        """Let go of the bundle's file; the manifest stays usable."""
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
