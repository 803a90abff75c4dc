"""Names of other files that a model file asks for: they may not lead out of its folder."""

import re
from pathlib import Path

from wherry.checkpoint.findings import forbidden
from wherry.checkpoint.parts import Part

_DRIVE = re.compile(r"[A-Za-z]:|\w+://")


def check_reference(name: str, part: Part) -> str:
    """Return `name` if it stays inside the folder of the file.

    Raises:
        UncleanError: it is absolute, climbs up, or is a link that leads out.
    """
    parts = name.replace("\\", "/").split("/")
    if not name or name.startswith(("/", "\\", "~")) or _DRIVE.match(name) or ".." in parts or "\0" in name:
        msg = f"It asks for the file {name[:80]!r}, which lies outside its folder."
        raise forbidden(msg, where=part.where, code="outside-path")
    if part.folder is not None:
        check_link(part.folder / name, part.folder, part.where)
    return name


def check_link(path: Path, folder: Path, where: str) -> None:
    """Check that what `path` leads to lies in `folder`.

    Raises:
        UncleanError: a link leads out of it.
    """
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        inside = False
    if not inside:
        msg = f"{path.name[:80]!r} is a link that leads out of the folder."
        raise forbidden(msg, where=where, code="outside-link")
