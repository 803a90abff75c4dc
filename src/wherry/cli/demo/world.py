"""Where the demo keeps what it makes, and how it tells its story."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.core.codec import to_builtins, to_json
from wherry.core.errors import StorageError
from wherry.durable import atomic_write

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.status import Status

MODEL = "digits"
WHO = "demo"


@dataclass(slots=True)
class World:
    """One folder that holds everything the demo makes: registry, keys, bundles, device."""

    folder: Path
    product: str
    console: "Console"
    document: dict[str, Any] = field(default_factory=dict)
    """The JSON result: one entry for each step."""
    reused: list[str] = field(default_factory=list)
    """What an earlier run had made already."""
    new_releases: bool = False
    """Whether this run has signed a bundle."""
    status: "Status | None" = None
    """The line that says what is under way."""

    @property
    def registry(self) -> Path:
        """Folder of the registry."""
        return self.folder / "registry"

    @property
    def trust(self) -> Path:
        """Folder of the publisher's keys and metadata."""
        return self.folder / "trust"

    @property
    def device(self) -> Path:
        """Root folder of the device."""
        return self.folder / "device"

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[dict[str, Any]]:
        """Tell a step's title, show that it is under way, and keep its numbers and time under `name`."""
        self.console.print(f"\n[bold]{len(self.document) + 1}. {title}[/bold]")
        numbers: dict[str, Any] = {}
        started = time.perf_counter()
        with self.console.status("working") as self.status:
            yield numbers
        numbers["seconds"] = round(time.perf_counter() - started, 2)
        self.document[name] = to_builtins(numbers)

    def progress(self, what: str) -> None:
        """Say what is under way, on the line that is replaced again and again."""
        if self.status is not None:
            self.status.update(what)

    def say(self, sentence: str, style: str = "") -> None:
        """Tell one sentence of the story, as it stands: what looks like markup in it is none."""
        self.console.print(f"   {sentence}", style=style, highlight=False, markup=False, soft_wrap=True)

    def show(self, part: "RenderableType") -> None:
        """Show a table of the story."""
        from rich.padding import Padding

        self.console.print(Padding(part, (0, 0, 0, 3)), highlight=False)

    def note_reuse(self, what: str) -> None:
        """Remember that an earlier run had made `what`, and say so."""
        self.reused.append(what)
        self.say(f"reused: {what}", style="dim")

    def recall(self, name: str) -> dict[str, Any] | None:
        """Return a note of an earlier run, or None; a damaged note counts as none."""
        path = self.folder / "notes" / f"{name}.json"
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def remember(self, name: str, note: dict[str, Any]) -> None:
        """Keep a note for the next run."""
        atomic_write(self.folder / "notes" / f"{name}.json", to_json(note))


def make_world(folder: Path, product: str, console: "Console") -> World:
    """Make the demo's folder.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        msg = f"The demo's folder {folder} cannot be written: {error.strerror}."
        raise StorageError(msg) from error
    return World(folder=folder.resolve(), product=product, console=console)
