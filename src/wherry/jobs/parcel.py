"""A job on its way: its document, and the files that it names by path, by content and digest."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from wherry.core.digest import sha256_hex
from wherry.core.errors import DigestMismatchError, StorageError
from wherry.core.job import Luggage
from wherry.jobs.worker import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One file: where it lay, where it goes below the job's own folder, and what it holds."""

    path: str
    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What a machine is asked to do."""

    function: str
    spec: Any
    timeout_s: float
    memory_bytes: int | None
    files: tuple[Carried, ...]
    folders: dict[str, str]
    """Folders of the spec, with their names below the job's own folder; those to write into too."""
    out: tuple[str, ...]
    """Names of those to write into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of it; the files' contents travel beside it, in the same order."""

    result: Any = None
    failure: Failure | None = None
    log: tuple[str, ...] = ()
    files: tuple[Carried, ...] = field(default=())


def folders_of(luggage: Luggage) -> dict[str, str]:
    """Return a name for each folder of the luggage."""
    return {path: f"folder{index}" for index, path in enumerate((*luggage.folders, *luggage.out))}


def files_of(luggage: Luggage) -> list[tuple[Path, str]]:
    """Return every file that travels, with its name below the job's own folder.

    Raises:
        StorageError: a folder cannot be read.
    """
    names = folders_of(luggage)
    found = [(Path(path), f"file{index}/{Path(path).name}") for index, path in enumerate(luggage.files)]
    for folder in luggage.folders:
        inside = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        found += [(path, f"{names[folder]}/{path.relative_to(folder).as_posix()}") for path in inside]
    return found


def unpack(files: Iterable[tuple[Carried, bytes]], root: Path) -> None:
    """Write files below a folder.

    Raises:
        DigestMismatchError: a file did not arrive as it left, or its name leaves the folder; it is not written.
        StorageError: it cannot be written.
    """
    for file, content in files:
        parts = PurePosixPath(file.name).parts
        if not parts or ".." in parts or PurePosixPath(file.name).is_absolute():
            msg = f"A job names the file {file.name!r}, which leaves its folder."
            raise DigestMismatchError(msg)
        if sha256_hex(content) != file.sha256:
            msg = f"{file.name} did not arrive as it left."
            raise DigestMismatchError(msg, next_step="Run the same command again.")
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            msg = f"{path} cannot be written: {error.strerror or error}."
            raise StorageError(msg) from error


def moved(value: Any, places: Mapping[str, str]) -> Any:
    """Return a document in which every text that is a path of the luggage is its path at the new place."""
    if isinstance(value, dict):
        return {key: moved(inner, places) for key, inner in value.items()}
    if isinstance(value, list):
        return [moved(inner, places) for inner in value]
    return places.get(value, value) if isinstance(value, str) else value


def digest_of(path: Path) -> str:
    """Return the sha256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
