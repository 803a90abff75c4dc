"""A folder that shows a plan: links and small files, replaced one by one in a single step each."""

import filecmp
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from wherry.core.codec import from_json, to_json
from wherry.core.errors import BadInputError, BusyError, DocumentError, StorageError
from wherry.registry import database
from wherry.registry.blobs import check_path

Plan: TypeAlias = dict[str, Path | bytes]
"""Relative POSIX path -> the file it shows, or its content. Links to links come after what they point at."""
INDEX = ".tree.json"
"""What earlier runs made: nothing else is ever replaced or removed."""
LOCK = ".tree.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The paths that are ours."""

    paths: tuple[str, ...]
    schema: int = 1


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes and threads out of `folder`, making it first; a killed process lets go by dying.

    Raises:
        BusyError: another process has been in it for too long.
        StorageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).open("ab").close()
    except OSError as error:
        raise _unwritable(folder, error) from error
    # SQLite's lock on an empty file: the same on every system, and it queues.
    lock = sqlite3.connect(folder / LOCK, isolation_level=None, timeout=database.BUSY_SECONDS)
    with closing(lock):
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            msg = f"Another process has been writing the readable tree in {folder} for too long."
            raise BusyError(msg) from error
        yield


def make(folder: Path, plan: Plan) -> None:
    """Make `folder` show the plan and remove what earlier runs made and the plan no longer holds.

    Raises:
        BadInputError: a file that no run made is in the way; it is left alone.
        StorageError: the folder cannot be written.
    """
    try:
        ours = _ours(folder)
        todo = {folder / path: shown for path, shown in plan.items() if not _shows(folder / path, shown)}
        for place in todo:
            _check_free(place, ours=place.relative_to(folder).as_posix() in ours)
        # First claimed, then made: what a killed run left is known to the next one.
        _record(folder, ours | plan.keys())
        for place, shown in todo.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            _swap(place, shown)
        _remove(folder, ours - plan.keys())
        _record(folder, plan.keys())
    except OSError as error:
        raise _unwritable(folder, error) from error


def _ours(folder: Path) -> set[str]:
    with suppress(FileNotFoundError, DocumentError):
        return set(from_json((folder / INDEX).read_bytes(), Index, what=INDEX, schema=1).paths)
    return set()


def _record(folder: Path, paths: Iterable[str]) -> None:
    data = to_json(Index(paths=tuple(sorted(paths))))
    index = folder / INDEX
    if not index.is_file() or index.read_bytes() != data:
        _swap(index, data)


def _check_free(place: Path, *, ours: bool) -> None:
    if place.exists() and not place.is_symlink() and not ours:
        msg = f"{place} is not one of wherry's files, and it is where one must go."
        raise BadInputError(msg, next_step="Move it away, then run the same command again.")


def _shows(place: Path, shown: Path | bytes) -> bool:
    if place.is_symlink():
        return isinstance(shown, Path) and place.exists() and str(place.readlink()) == _way(place, shown)
    if not place.is_file():
        return False
    if isinstance(shown, Path):
        return filecmp.cmp(place, shown, shallow=False)
    return place.read_bytes() == shown


def _swap(place: Path, shown: Path | bytes) -> None:
    fresh = place.with_name(f".{uuid.uuid4().hex}")
    try:
        if isinstance(shown, bytes):
            fresh.write_bytes(shown)
        else:
            _link(fresh, shown)
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)


def _link(fresh: Path, shown: Path) -> None:
    try:
        fresh.symlink_to(_way(fresh, shown))
    except OSError:
        # Windows allows symbolic links only in developer mode, and some file systems know none.
        shutil.copyfile(shown, fresh)


def _way(place: Path, target: Path) -> str:
    """Return the relative way from a link to what it shows, so that the whole registry can be moved."""
    return os.path.relpath(target, place.parent.resolve())


def _remove(folder: Path, stale: set[str]) -> None:
    for path in sorted(stale):
        # An index that somebody else wrote must not make us remove files elsewhere.
        place = folder / check_path(path)
        if place.parent.resolve().is_relative_to(folder) and (place.is_symlink() or place.is_file()):
            place.unlink()
        for parent in place.relative_to(folder).parents:
            with suppress(OSError):  # not empty, or gone already
                if parent.parts:
                    (folder / parent).rmdir()


def _unwritable(folder: Path, error: OSError) -> StorageError:
    msg = f"The readable tree in {folder} cannot be written: {error.strerror}."
    return StorageError(msg)
