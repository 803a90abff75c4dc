"""Writing so that a power cut leaves the old bytes or the new ones: all platform oddities are in this one file.

The order is that of RAUC's artifact store: write beside, sync the file, rename, sync the folder. `os.replace` is
atomic on every system we run on; what differs is how a sync reaches the medium and who may hold a file open.
"""

import errno
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from wherry.core.errors import BusyError, StorageError

CHUNK = 1 << 20
"""Bytes copied at a time; memory stays constant whatever the size of a file."""

# Windows: access denied, sharing violation, lock violation. A virus scanner holds a fresh file for a moment.
_HELD_OPEN = frozenset({5, 32, 33})
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 1.0
_GIVE_UP_AFTER_S = 2.5


def fsync_file(descriptor: int) -> None:
    """Return when the file's bytes are on the medium, not only in the drive's cache.

    macOS answers `fsync` before the drive has written; `F_FULLFSYNC` is its real one (see `man 2 fsync` there).
    """
    if sys.platform == "darwin":
        import fcntl

        with suppress(OSError):  # network and FAT volumes do not know it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def fsync_dir(folder: Path) -> None:
    """Return when the names in `folder` are on the medium. Windows has no such call and needs none on NTFS."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # FAT and some network volumes cannot
            raise
    finally:
        os.close(descriptor)


def replace(source: Path, destination: Path) -> None:
    """Rename `source` to `destination` in one step, replacing a file there.

    On Windows a file that a scanner holds open is tried again for at most 2.5 seconds.

    Raises:
        OSError: it cannot be renamed.
    """
    wait, deadline = _FIRST_WAIT_S, time.monotonic() + _GIVE_UP_AFTER_S
    while True:
        try:
            source.replace(destination)
        except OSError as error:
            if getattr(error, "winerror", None) not in _HELD_OPEN or time.monotonic() + wait > deadline:
                raise
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)
        else:
            return


def atomic_write(path: Path, data: bytes) -> None:
    """Put `data` into `path`, making its folder if need be: afterwards it holds the old bytes or the new, never a part.

    Raises:
        StorageError: the disk is full, read-only or failing; the old file is untouched.
    """
    with writing(path) as file:
        file.write(data)


@contextmanager
def writing(path: Path, *, part: Path | None = None, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Give a file to write which becomes `path` durably when the block ends well, and vanishes when it does not.

    Args:
        path: where the bytes shall be; its folder is made if need be.
        part: where they are until then, in the same folder and overwritten; by default a name that nobody else has.
        mode: permissions of the new file on POSIX; elsewhere a read-only file could not be replaced again.

    Raises:
        StorageError: the disk is full, read-only or failing; what was at `path` is untouched.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = part or _unique_part(path)
        try:
            with temporary.open("w+b") as file:
                yield file
                file.flush()
                if os.name == "posix":
                    temporary.chmod(mode)
                fsync_file(file.fileno())
            replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        fsync_dir(path.parent)


def _unique_part(path: Path) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(descriptor)
    return Path(name)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` during the block; the system lets go of it if the process dies.

    Raises:
        BusyError: another process, or another part of this one, holds it.
        StorageError: the file cannot be made.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    with file:
        try:
            _lock(file)
        except OSError as error:
            msg = f"Another process is at work: it holds {path}."
            raise BusyError(msg) from error
        yield


def _lock(file: IO[bytes]) -> None:
    """Take the lock or raise OSError at once; closing the file gives it back."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` inside the block into a `StorageError` which names `path` and the cause in plain words."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return what happened at `path` as one sentence with a next step."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageError(f"The disk is full: {path} could not be written.", next_step="Free space, then try again.")
    if error.errno == errno.EROFS:
        return StorageError(f"{path} is on a read-only disk.", next_step="Mount it writable, or choose another folder.")
    if isinstance(error, PermissionError):
        return StorageError(
            f"No permission for {path}.", next_step="Run as the user who owns the folder, or choose another."
        )
    return StorageError(f"{path} could not be read or written: {error.strerror or type(error).__name__}.")
