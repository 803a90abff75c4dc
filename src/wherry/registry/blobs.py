"""Blobs by sha256, through obstore: `blobs/sha256/ab/<64 hex>`; written whole or not at all, verified when read."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from wherry.core.digest import FileRef, check_sha256, short
from wherry.core.errors import BadInputError, DigestMismatchError, NotFoundError, StorageError

CHUNK = 1 << 20
Chunks = Callable[[], Iterator[bytes]]


class BlobStore:
    """A content store in a local folder.

    Promise: after a `put` the blob is there, whole, with the digest it is named by, and on stable storage; a blob that
    was damaged since is mended by putting the same content again. Several processes may put at once.
    """

    def __init__(self, folder: Path) -> None:
        """Open the store, making the folder where it is missing.

        Raises:
            StorageError: the folder cannot be made.
        """
        self.folder = folder
        with _narrowed(folder):
            self._store = LocalStore(folder, mkdir=True)

    def put_bytes(self, path: str, data: bytes) -> FileRef:
        """Store `data` and return its reference under the name `path`.

        Raises:
            BadInputError: the name is absolute, empty, or escapes its folder.
            StorageError: the store cannot be written.
        """
        return self._put(check_path(path), lambda: iter((data,)))

    def put_file(self, file: Path, path: str | None = None) -> FileRef:
        """Store a file, streamed, and return its reference under `path` (the file's own name if None).

        Raises:
            NotFoundError: there is no such file.
            BadInputError: the name cannot be used, or the file changed while it was read.
            StorageError: the file cannot be read, or the store cannot be written.
        """
        if not file.is_file():
            msg = f"There is no file {file}."
            raise NotFoundError(msg)
        return self._put(check_path(file.name if path is None else path), lambda: _file_chunks(file))

    def read(self, sha256: str) -> bytes:
        """Return a blob's bytes, verified.

        Raises:
            NotFoundError: no such blob.
            DigestMismatchError: the blob is damaged.
        """
        key = self._existing(sha256)
        with _narrowed(self.folder):
            data = bytes(obstore.get(self._store, key).bytes())
        if hashlib.sha256(data).hexdigest() != sha256:
            raise _damaged(sha256)
        return data

    def path(self, sha256: str) -> Path:
        """Return where a blob lies, for reading only; it exists, its bytes are not verified here.

        Raises:
            NotFoundError: no such blob.
        """
        return self.folder / self._existing(sha256)

    def holds(self, ref: FileRef) -> bool:
        """Return whether a blob of that digest and that size is in the store."""
        path = self.folder / _key(ref.sha256)
        return path.is_file() and path.stat().st_size == ref.size

    def check(self, sha256: str) -> Path:
        """Read a blob through, compare its digest, and return where it lies.

        Raises:
            NotFoundError: no such blob.
            DigestMismatchError: the blob is damaged.
        """
        path = self.path(sha256)
        if _measure(_file_chunks(path))[0] != sha256:
            raise _damaged(sha256)
        return path

    def materialize(self, files: tuple[FileRef, ...], folder: Path) -> Path:
        """Lay verified blobs under their names into `folder` and return the first, the main file.

        They are hard links where the file system allows it and copies elsewhere, and read-only either way. Safe to run
        again.

        Raises:
            BadInputError: no files at all, or a name that escapes the folder.
            NotFoundError: no such blob.
            DigestMismatchError: a blob is damaged.
            StorageError: the folder cannot be written.
        """
        if not files:
            msg = "There are no files to lay out."
            raise BadInputError(msg)
        for ref in files:
            target = folder / check_path(ref.path)
            source = self.check(ref.sha256)
            with _narrowed(folder):
                _lay(source, target)
        return folder / files[0].path

    def _put(self, path: str, chunks: Chunks) -> FileRef:
        with _narrowed(self.folder):
            sha256, size = _measure(chunks())
            ref = FileRef(path=path, size=size, sha256=sha256)
            if not self._intact(ref):
                self._write(ref, chunks())
        return ref

    def _intact(self, ref: FileRef) -> bool:
        return self.holds(ref) and _measure(_file_chunks(self.folder / _key(ref.sha256)))[0] == ref.sha256

    def _write(self, ref: FileRef, chunks: Iterator[bytes]) -> None:
        """Write to a staging name, settle it on the disk, then move it to its own name in one step."""
        hasher = hashlib.sha256()

        def hashed() -> Iterator[bytes]:
            for chunk in chunks:
                hasher.update(chunk)
                yield chunk

        staged = f"staging/{uuid.uuid4().hex}"
        try:
            obstore.put(self._store, staged, hashed())
            if hasher.hexdigest() != ref.sha256:
                msg = f"{ref.path} changed while it was read."
                raise BadInputError(msg, next_step="Wait until nothing writes to it any more, then try again.")
            _settle(self.folder / staged)
            self._move(staged, ref)
        except BaseException:
            (self.folder / staged).unlink(missing_ok=True)
            raise

    def _move(self, staged: str, ref: FileRef) -> None:
        key = _key(ref.sha256)
        try:
            obstore.rename(self._store, staged, key)
        except (BaseError, OSError):
            # Windows does not rename over a read-only file: another process may have put the same blob just now.
            if not self._intact(ref):
                raise
            (self.folder / staged).unlink(missing_ok=True)
        for parent in ((self.folder / key).parent, self.folder / "sha256"):
            _sync_folder(parent)

    def _existing(self, sha256: str) -> str:
        key = _key(check_sha256(sha256))
        if not (self.folder / key).is_file():
            msg = f"There is no blob {short(sha256)} in the registry."
            raise NotFoundError(msg, next_step="Register or export the version again, which stores its files.")
        return key


def check_path(path: str) -> str:
    """Return `path` if it is a relative POSIX path that stays below its folder on every system.

    Raises:
        BadInputError: it is empty, absolute, has a drive or a backslash, or steps upwards.
    """
    parts = path.split("/")
    windows = PureWindowsPath(path)
    if "\\" in path or "\0" in path or windows.drive or windows.root or any(part in {"", ".", ".."} for part in parts):
        msg = f"{path!r} cannot name a file here: use a relative path with '/' that stays below its folder."
        raise BadInputError(msg)
    return PurePosixPath(path).as_posix()


def _key(sha256: str) -> str:
    return f"sha256/{sha256[:2]}/{sha256}"


def _file_chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _measure(chunks: Iterator[bytes]) -> tuple[str, int]:
    hasher, size = hashlib.sha256(), 0
    for chunk in chunks:
        hasher.update(chunk)
        size += len(chunk)
    return hasher.hexdigest(), size


def _settle(file: Path) -> None:
    """Make a new file read-only and wait until its bytes are on stable storage."""
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
    file.chmod(0o444)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no fsync of a folder; its file systems journal the rename
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lay(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        link_or_copy(source, fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a read-only copy where the file system cannot link."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
        target.chmod(0o444)


def _damaged(sha256: str) -> DigestMismatchError:
    msg = f"The blob {short(sha256)} in the registry is damaged: its bytes do not have that digest."
    return DigestMismatchError(msg, next_step="Store the same file again (register or export): that mends the blob.")


@contextmanager
def _narrowed(folder: Path) -> Iterator[None]:
    """Turn what obstore and the system raise into one sentence."""
    try:
        yield
    except (BaseError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        msg = f"{folder} cannot be used: {reason}."
        raise StorageError(msg) from error
