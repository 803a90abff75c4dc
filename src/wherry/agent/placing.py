"""Putting a file under a second name without copying it where the file system can do that."""

import os
import shutil
import sys
import uuid
from contextlib import suppress
from pathlib import Path

from wherry.durable import CHUNK, replace, storage_errors, writing

_FICLONE = 0x40049409
"""Linux, `linux/fs.h`: share the blocks of another file until one of the two is written (btrfs, XFS, bcachefs)."""


def place(source: Path, destination: Path) -> None:
    """Put the bytes of `source` under `destination` in one step: as a clone, else a hard link, else a copy.

    A clone is best, as a program that writes into the one leaves the other whole. The caller syncs the folder when all
    files are placed.

    Raises:
        StorageError: it could not be written; what was at `destination` is untouched.
    """
    with storage_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
    if _clone(source, destination) or _link(source, destination):
        return
    with storage_errors(source), source.open("rb") as old, writing(destination) as new:
        shutil.copyfileobj(old, new, CHUNK)


def _clone(source: Path, destination: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    with suppress(OSError), source.open("rb") as old:
        temporary = _beside(destination)
        try:
            with temporary.open("xb") as new:
                fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
                os.fsync(new.fileno())
            temporary.chmod(0o644)
            replace(temporary, destination)
        finally:
            temporary.unlink(missing_ok=True)
        return True
    return False


def _link(source: Path, destination: Path) -> bool:
    with suppress(OSError):
        temporary = _beside(destination)
        try:
            temporary.hardlink_to(source)
            replace(temporary, destination)
        finally:
            # Renaming onto another name of the same file does nothing at all, and says that all is well.
            temporary.unlink(missing_ok=True)
        return True
    return False


def _beside(destination: Path) -> Path:
    return destination.with_name(f".{destination.name}.{uuid.uuid4().hex}.part")
