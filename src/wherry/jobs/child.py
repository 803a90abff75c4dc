"""Runs one job in a child process of its own: a crash, a hang or a memory hog there is one error here, no more."""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

from wherry.core import errors
from wherry.core.codec import from_json, to_json
from wherry.core.errors import ChildError, StorageError, WherryError
from wherry.jobs.worker import ERROR_FILE, RESULT_FILE, SPEC_FILE, Failure

T = TypeVar("T")
OnLog = Callable[[str], None]
TAIL_LINES = 200
_LONGEST_LINE = 4096
_LOOK_EVERY_S = 0.05
_MIB = 2**20


def run_in_child(
    function: str,
    spec: object,
    result: type[T],
    *,
    timeout_s: float,
    memory_bytes: int | None = None,
    on_log: OnLog | None = None,
    stop: threading.Event | None = None,
) -> T:
    """Call a function in a new Python process and return what it returned.

    The child leads a process group of its own, which is gone when this call ends, however it ends; it also goes when
    this process is killed. What the child and its libraries print goes to `on_log` and never mixes with the result.

    Args:
        function: `package.module:function`, a function of one annotated argument; importable by the child.
        spec: the argument, a dataclass that the codec can write.
        result: type of the answer, which the codec can write too.
        timeout_s: seconds after which the child is killed.
        memory_bytes: resident memory of the child and its children, in bytes, above which they are killed. It is
            looked at every 50 ms, so that a short spike can pass; address space is not limited, as torch maps far
            more than it uses.
        on_log: is given each line that the child prints, in the caller's thread.
        stop: kills the child when it is set from another thread.

    Raises:
        ChildError: the child crashed, hung, took too much memory or was stopped; the message says which and holds
            the last line it printed.
        StorageError: the child could not be started, as the disk is full or a limit of the system is reached.
        WherryError: what the function raised, with the same class, message and next step.
    """
    with tempfile.TemporaryDirectory(prefix="wherry-job-") as name:
        folder = Path(name)
        child = _start(function, spec, folder, on_log)
        try:
            child.wait(timeout_s, memory_bytes, stop)
        finally:
            child.end()
        if (folder / RESULT_FILE).is_file():
            return from_json((folder / RESULT_FILE).read_bytes(), result, what=f"The result of {function}")
        if (folder / ERROR_FILE).is_file():
            raise child.failed(from_json((folder / ERROR_FILE).read_bytes(), Failure, what=f"The error of {function}"))
        raise child.crashed()


class _Child:
    """A started child and the last lines it printed."""

    def __init__(self, function: str, folder: Path, on_log: OnLog | None) -> None:
        self.function = function
        self._on_log = on_log
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "wherry.jobs.worker", function, str(folder)],
            stdin=subprocess.PIPE,  # held open: its end tells the child that this process is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=_read_lines, args=(self._process.stdout, self._lines), daemon=True)
        self._reader.start()

    def wait(self, timeout_s: float, memory_bytes: int | None, stop: threading.Event | None) -> None:
        """Return when the child has ended by itself; raise ChildError when it has to be ended."""
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            self._pass_on()
            if time.monotonic() > deadline:
                raise self._ended(f"did not end within {timeout_s:g} seconds and was killed", "Give it more time.")
            if stop is not None and stop.is_set():
                raise self._ended("was stopped", "Run the same command again; what was finished is kept.")
            if memory_bytes is not None and (used := _resident_bytes(self._process.pid)) > memory_bytes:
                said = f"{used // _MIB} MiB, at most {memory_bytes // _MIB} MiB are allowed"
                raise self._ended(f"ran out of memory ({said}) and was killed", "Allow it more memory.")
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LOOK_EVERY_S)

    def end(self) -> None:
        """Leave no process of the group behind, and hand on the last lines."""
        _kill_group(self._process.pid)
        self._process.kill()
        self._process.wait()
        self._reader.join(timeout=5)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._pass_on()

    def failed(self, failure: Failure) -> WherryError:
        """Return what the function raised."""
        kind = getattr(errors, failure.error, None) if failure.known else None
        if isinstance(kind, type) and issubclass(kind, WherryError):
            return kind(failure.message, next_step=failure.next_step)
        if failure.error == "MemoryError":
            return self._ended("ran out of memory", "Allow it more memory.")
        message = failure.message.strip().splitlines()
        said = f": {message[0][:300]}" if message else "."
        return ChildError(f"The child process of {self.function} failed with {failure.error}{said}")

    def crashed(self) -> ChildError:
        """Return the error of a child that ended and left neither a result nor an error."""
        code = self._process.returncode
        if code >= 0:
            return self._ended(f"ended with exit code {code} and no result")
        name = signal.Signals(-code).name
        hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
        return self._ended(f"crashed with {name}{hint}")

    def _ended(self, what: str, next_step: str | None = None) -> ChildError:
        self._pass_on()
        last = next((line for line in reversed(self._tail) if line.strip()), None)
        said = f"Its last line was: {last.strip()[:300]}" if last else "It printed nothing."
        return ChildError(f"The child process of {self.function} {what}. {said}", next_step=next_step)

    def _pass_on(self) -> None:
        with suppress(queue.Empty):
            while True:
                line = self._lines.get_nowait()
                self._tail.append(line)
                if self._on_log is not None:
                    self._on_log(line)


def _start(function: str, spec: object, folder: Path, on_log: OnLog | None) -> _Child:
    try:
        (folder / SPEC_FILE).write_bytes(to_json(spec))
        return _Child(function, folder, on_log)
    except OSError as error:
        msg = f"No child process could be started for {function}: {error.strerror or error}."
        raise StorageError(msg) from error


def python_path() -> str:
    """Return where this process finds modules, for the environment of another one."""
    return os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)


def _environment() -> dict[str, str]:
    """Return the child's environment: it finds the modules that this process finds, and prints without delay."""
    return {
        **os.environ,
        "PYTHONPATH": python_path(),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "ORT_DISABLE_TELEMETRY": "1",
    }


def _read_lines(stream: IO[str] | None, lines: "queue.SimpleQueue[str]") -> None:
    """Keep the pipe empty, so that the child never waits; a progress bar's carriage return ends a line too."""
    with suppress(ValueError, OSError):  # closed while reading
        while stream is not None and (line := stream.readline(_LONGEST_LINE)):
            lines.put(line.rstrip("\n"))


def _resident_bytes(pid: int) -> int:
    import psutil

    with suppress(psutil.Error):
        leader = psutil.Process(pid)
        total = 0
        for process in (leader, *leader.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_info().rss
        return total
    return 0


def _kill_group(pid: int) -> None:
    """Kill the child and everything it started; what is already gone is no error."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        return
    import psutil  # Windows has no process groups that can be killed as one

    with suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                process.kill()
