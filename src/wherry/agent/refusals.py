"""Releases that this device went back from: not tried again, with the reason, until another release arrives."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from wherry.core.codec import from_json, to_json
from wherry.core.errors import DocumentError, RefusedError
from wherry.durable import atomic_write, storage_errors

MOST_INTERRUPTIONS = 3
"""A trial cut off this often is taken to be the cause: a model that crashes the machine must not do so for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is remembered about a release, by the digest of its manifest."""

    release: str
    number: int
    reason: str = ""
    """Empty while the release may still be tried."""
    at: str = ""
    interruptions: int = 0
    """How often power or process was lost during its trial."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """The list in one file. A list that cannot be understood is an empty one: it must never lock a device."""

    path: Path

    def all(self) -> dict[str, Refusal]:
        """Return what is remembered, by manifest digest."""
        with storage_errors(self.path):
            try:
                data = self.path.read_bytes()
            except FileNotFoundError:
                return {}
        try:
            return from_json(data, dict[str, Refusal], what=str(self.path))
        except DocumentError:
            return {}

    def check(self, manifest_sha256: str) -> None:
        """Return if the release may be tried.

        Raises:
            RefusedError: this device went back from it.
        """
        found = self.all().get(manifest_sha256)
        if found is not None and found.reason:
            msg = f"This device already went back from {found.release}: {found.reason}"
            raise RefusedError(msg, next_step="Publish a mended release with a higher number.")

    def refuse(self, manifest_sha256: str, release: str, number: int, reason: str) -> None:
        """Remember that the release is not to be tried again."""
        found = self.all()
        before = found.get(manifest_sha256, Refusal(release=release, number=number))
        found[manifest_sha256] = replace(before, reason=reason, at=_now())
        self._write(found)

    def interrupted(self, manifest_sha256: str, release: str, number: int) -> None:
        """Count a trial that was cut off; the third one refuses the release."""
        found = self.all()
        before = found.get(manifest_sha256, Refusal(release=release, number=number))
        count = before.interruptions + 1
        reason = f"Its trial was cut off {count} times." if count >= MOST_INTERRUPTIONS else before.reason
        found[manifest_sha256] = replace(before, interruptions=count, reason=reason, at=_now())
        self._write(found)

    def lift(self, manifest_sha256: str) -> None:
        """Forget one release, as its owner wants it back."""
        found = self.all()
        if found.pop(manifest_sha256, None) is not None:
            self._write(found)

    def settle(self, manifest_sha256: str, number: int) -> None:
        """Forget the release that is now live, and every one with a lower number: those cannot come back anyway."""
        found = self.all()
        kept = {key: value for key, value in found.items() if key != manifest_sha256 and value.number >= number}
        if kept != found:
            self._write(kept)

    def _write(self, found: dict[str, Refusal]) -> None:
        with storage_errors(self.path):
            atomic_write(self.path, to_json(found))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
