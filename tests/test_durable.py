"""Durable writing, with the oddities of other systems simulated where the system at hand does not have them."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.bundle.publishers import everything
from wherry import durable
from wherry.core.errors import BusyError, StorageError


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Let the system refuse to write beyond `limit` bytes of any file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_atomic_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    durable.atomic_write(path, b"old")
    durable.atomic_write(path, b"new")
    assert everything(tmp_path) == {"a/b/file.json": b"new"}
    assert path.stat().st_mode & 0o777 == 0o644


def test_writing_takes_a_mode_and_a_part(tmp_path: Path) -> None:
    path, part = tmp_path / "secret", tmp_path / "secret.part"
    part.write_bytes(b"left over by a run that was killed")
    with durable.writing(path, part=part, mode=0o600) as file:
        file.write(b"key")
        assert part.exists()
        assert not path.exists()
    assert everything(tmp_path) == {"secret": b"key"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_the_old_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with file_size_limit(1000), pytest.raises(StorageError, match="The disk is full"):
        durable.atomic_write(path, bytes(100_000))
    assert everything(tmp_path) == {"file": b"old"}


def test_an_interrupted_block_leaves_the_old_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def cut_short() -> None:
        with durable.writing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    assert everything(tmp_path) == {"file": b"old"}


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only disk"),
        (PermissionError(errno.EACCES, "Permission denied"), "No permission"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("odd"), "could not be read or written: OSError"),
    ],
)
def test_causes_are_said_in_plain_words(tmp_path: Path, error: OSError, sentence: str) -> None:
    with pytest.raises(StorageError, match=sentence) as caught, durable.storage_errors(tmp_path / "file"):
        raise error
    assert caught.value.exit_code == 7
    assert str(tmp_path / "file") in caught.value.message
    assert caught.value.next_step


@contextmanager
def held_open(times: int, winerror: int) -> Iterator[list[Path]]:
    """Let `Path.replace` fail as on Windows while a virus scanner holds the file; gives the calls."""
    calls: list[Path] = []
    real = Path.replace

    def replace(source: Path, destination: Path) -> Path:
        calls.append(destination)
        if len(calls) <= times:
            error = OSError(errno.EACCES, "held open")
            error.winerror = winerror
            raise error
        return real(source, destination)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        yield calls


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(durable.time, "sleep", waits.append)
    monkeypatch.setattr(durable.time, "monotonic", lambda: sum(waits))
    return waits


@pytest.mark.parametrize("winerror", [5, 32, 33])
def test_a_file_held_open_on_windows_is_tried_again(tmp_path: Path, no_waiting: list[float], winerror: int) -> None:
    with held_open(3, winerror):
        durable.atomic_write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert no_waiting == [0.05, 0.1, 0.2]


def test_waiting_ends(tmp_path: Path, no_waiting: list[float]) -> None:
    with held_open(1000, 32), pytest.raises(StorageError):
        durable.atomic_write(tmp_path / "file", b"new")
    assert sum(no_waiting) <= 2.5
    assert everything(tmp_path) == {}


def test_another_error_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_waiting: list[float]
) -> None:
    with held_open(1000, 112) as calls, pytest.raises(StorageError):
        durable.atomic_write(tmp_path / "file", b"new")
    assert no_waiting == []
    assert len(calls) == 1


@pytest.mark.parametrize("knows", [True, False])
def test_macos_syncs_to_the_medium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: bool) -> None:
    import fcntl

    asked, synced = [], []

    def control(descriptor: int, command: int) -> None:
        asked.append(command)
        if not knows:
            raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", synced.append)
    with (tmp_path / "file").open("wb") as file:
        durable.fsync_file(file.fileno())
    assert asked == [51]
    assert len(synced) == (0 if knows else 1)


def test_windows_has_no_folder_to_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    durable.fsync_dir(tmp_path / "absent")
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        durable.fsync_dir(tmp_path / "absent")


@pytest.mark.parametrize(("code", "passes"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_volumes_that_cannot_sync_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, passes: bool
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(os, "fsync", refuse)
    if passes:
        durable.fsync_dir(tmp_path)
    else:
        with pytest.raises(OSError, match="refused"):
            durable.fsync_dir(tmp_path)


def test_the_file_is_synced_before_it_gets_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real = Path.replace
    monkeypatch.setattr(durable, "fsync_file", lambda descriptor: order.append("file"))
    monkeypatch.setattr(durable, "fsync_dir", lambda folder: order.append("folder"))
    monkeypatch.setattr(Path, "replace", lambda source, destination: (order.append("name"), real(source, destination)))
    durable.atomic_write(tmp_path / "file", b"new")
    assert order == ["file", "name", "folder"]


def test_a_lock_is_held_by_one_and_freed_by_death(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with durable.locked(path), pytest.raises(BusyError) as caught, durable.locked(path):
        pass
    assert caught.value.exit_code == 7
    script = (
        "import os, sys, pathlib\nfrom wherry.durable import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)\n"
    )
    died = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert died.returncode == -9
    with durable.locked(path):
        pass


def test_a_lock_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError), durable.locked(tmp_path / "file" / "lock"):
        pass


@pytest.mark.parametrize("held", [False, True])
def test_windows_has_another_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool) -> None:
    asked: list[tuple[int, int]] = []

    def locking(descriptor: int, mode: int, count: int) -> None:
        asked.append((mode, count))
        if held:
            raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with pytest.raises(BusyError) if held else nullcontext(), durable.locked(tmp_path / "lock"):
        pass
    assert asked == [(2, 1)]
