"""Where everything lies on a device, on every operating system alike; no symbolic link is needed."""

import os
from dataclasses import dataclass
from pathlib import Path

from wherry.core.device import OsName

SLOTS = 2


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one device root. `docs/formats.md` says what is in each file."""

    root: Path

    @property
    def config(self) -> Path:
        """What this device is for: product, hooks, probation, how much is kept."""
        return self.root / "device.json"

    @property
    def blobs(self) -> Path:
        """Content-addressed files."""
        return self.root / "blobs"

    @property
    def store(self) -> Path:
        """The blobs by sha256, `ab/<hex>`."""
        return self.blobs / "sha256"

    @property
    def releases(self) -> Path:
        """Immutable trees, `<product>/<release>-v<version>-<digest12>/`."""
        return self.root / "releases"

    @property
    def state(self) -> Path:
        """Pointer, transaction, journal, refusals, high-water record."""
        return self.root / "state"

    def pointer(self, slot: int) -> Path:
        """One of the two slots of the pointer."""
        return self.state / f"pointer.{slot}.json"

    @property
    def journal(self) -> Path:
        """Append-only, hash-chained history."""
        return self.state / "journal.jsonl"

    @property
    def transaction(self) -> Path:
        """The state that the device is in."""
        return self.state / "transaction.json"

    @property
    def refusals(self) -> Path:
        """Releases that were rolled back, with the reason."""
        return self.state / "refused.json"

    @property
    def published(self) -> Path:
        """What the published view was made from."""
        return self.state / "published.json"

    @property
    def last_install(self) -> Path:
        """Report of the last install, for people and for `status`."""
        return self.state / "last_install.json"

    @property
    def trust(self) -> Path:
        """TUF metadata and the pinned root."""
        return self.root / "tuf"

    @property
    def lock(self) -> Path:
        """Held by the one agent that may change anything."""
        return self.root / "lock"

    @property
    def backups(self) -> Path:
        """What was published before each switch."""
        return self.root / "backups"

    @property
    def models(self) -> Path:
        """The published view, under the product's names: what applications read."""
        return self.root / "models"


def default_root(product: str, os_name: OsName | None = None) -> Path:
    r"""Return where a product's device root lies by default (contract row F8).

    `C:\Program Files\EmberEye`, `/Applications/EmberEye` or `/opt/embereye`.
    """
    if os_name is None:
        from wherry.agent.system import LocalSystem

        os_name = LocalSystem().os_name()
    if os_name == "windows":
        return Path(os.environ.get("PROGRAMFILES", r"C:\Program Files")) / product
    if os_name == "macos":
        return Path("/Applications") / product
    return Path("/opt") / product.lower()
