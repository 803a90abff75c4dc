"""Hooks: the owner's programs, run without a shell, in a process group of their own, with a limit on their time."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from wherry.agent.records import Health, HookResult

_TAIL_BYTES = 2000


def run_hook(argv: tuple[str, ...], environment: Mapping[str, str], timeout_s: float) -> HookResult:
    """Run a hook and return how it ended; a hook that hangs is killed with everything it started.

    What it prints goes to a file and not through a pipe: a restart hook may leave a service behind that keeps its
    output open, and the agent must not wait for that.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return HookResult(
                ok=False, why=f"{Path(argv[0]).name} cannot be started: {error}.", seconds=time.monotonic() - started
            )
        why = _wait(process, Path(argv[0]).name, timeout_s)
        return HookResult(ok=not why, why=why, seconds=time.monotonic() - started, output=_tail(output))


def probation(
    check: Callable[[], HookResult],
    *,
    window_s: float,
    interval_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Health:
    """Watch the application for `window_s` seconds, and at least one check long.

    It may take until the end of the window to become healthy; once it was, it has to stay so.
    """
    started = clock()
    checks = failures = 0
    first: float | None = None
    while True:
        result = check()
        checks += 1
        if result.ok:
            first = clock() - started if first is None else first
        else:
            failures += 1
        over = clock() - started >= window_s
        if not result.ok and (over or first is not None):
            said = f" It said: {result.output.strip().splitlines()[-1]}" if result.output.strip() else ""
            return Health(ok=False, why=f"{result.why}{said}", checks=checks, failures=failures, first_success_s=first)
        if over:
            return Health(ok=True, why="", checks=checks, failures=failures, first_success_s=first)
        sleep(min(interval_s, max(0.0, window_s - (clock() - started))))


def _wait(process: "subprocess.Popen[bytes]", program: str, timeout_s: float) -> str:
    """Return an empty string when the hook ended with 0; otherwise one sentence."""
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        _kill_group(process)
        return f"{program} did not end within {timeout_s:g} seconds and was killed."
    except BaseException:
        _kill_group(process)
        raise
    return "" if code == 0 else f"{program} ended with {code}."


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    if sys.platform == "win32":
        taskkill = os.path.expandvars(r"%SystemRoot%\System32\taskkill.exe")
        subprocess.run([taskkill, "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _TAIL_BYTES))
    return output.read().decode(errors="replace")
