"""Hooks and probation: real processes, and a clock of our own where only time matters."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.agent.hooks import probation, run_hook
from wherry.agent.records import Health, HookResult


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


def test_a_hook_gets_its_environment_and_no_shell(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "import os,sys; open(sys.argv[1],'w').write(os.environ['WHERRY_ROOT'])"
    result = run_hook((*python(code), str(out)), {"WHERRY_ROOT": "$(rm -rf /); a b"}, 10)
    assert (result.ok, result.why) == (True, "")
    assert out.read_text() == "$(rm -rf /); a b"


def test_a_hook_that_fails_says_so() -> None:
    result = run_hook(python("print('no camera'); raise SystemExit(3)"), {}, 10)
    assert not result.ok
    assert result.why.endswith("ended with 3.")
    assert result.output == "no camera\n"


def test_a_hook_that_is_not_there() -> None:
    assert "cannot be started" in run_hook(("/no/such/program",), {}, 10).why
    assert "cannot be started" in run_hook(("with\0nul",), {}, 10).why


def test_a_hook_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import subprocess,sys,time;"
        "p=subprocess.Popen([sys.executable,'-S','-c','import time; time.sleep(60)']);"
        f"open({str(note)!r},'w').write(str(p.pid)); time.sleep(60)"
    )
    started = time.monotonic()
    result = run_hook(python(code), {}, 2)
    assert not result.ok
    assert "did not end within 2 seconds" in result.why
    assert time.monotonic() - started < 30
    child = int(note.read_text())
    for _ in range(100):
        if not _alive(child):
            break
        time.sleep(0.05)
    assert not _alive(child)


def test_a_service_that_stays_behind_does_not_hold_the_hook(tmp_path: Path) -> None:
    code = "import subprocess,sys; subprocess.Popen([sys.executable,'-S','-c','import time; time.sleep(20)'])"
    result = run_hook(python(code), {}, 15)
    assert result.ok
    assert result.seconds < 15


def test_only_the_end_of_much_output_is_kept() -> None:
    result = run_hook(python("print('x' * 100000); print('the end')"), {}, 30)
    assert result.output.endswith("the end\n")
    assert len(result.output) == 2000


class Application:
    """Answers as told, on a clock that moves only when somebody sleeps."""

    def __init__(self, *answers: bool) -> None:
        self.answers: Iterator[bool] = iter(answers)
        self.now = 0.0
        self.last = answers[-1]

    def watched(self, window: float) -> Health:
        return probation(self.check, window_s=window, interval_s=1.0, clock=lambda: self.now, sleep=self.sleep)

    def check(self) -> HookResult:
        ok = next(self.answers, self.last)
        return HookResult(ok=ok, why="" if ok else "curl ended with 7.", seconds=0, output="" if ok else "a\nrefused\n")

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def test_healthy_from_the_start() -> None:
    assert Application(True).watched(3) == Health(ok=True, why="", checks=4, failures=0, first_success_s=0)


def test_slow_to_start_is_well() -> None:
    assert Application(False, False, True).watched(5) == Health(
        ok=True, why="", checks=6, failures=2, first_success_s=2
    )


def test_never_healthy() -> None:
    found = Application(False).watched(3)
    assert found == Health(
        ok=False, why="curl ended with 7. It said: refused", checks=4, failures=4, first_success_s=None
    )


def test_healthy_and_then_not_is_not_healthy() -> None:
    found = Application(True, True, False, True).watched(10)
    assert (found.ok, found.checks, found.first_success_s) == (False, 3, 0)


@pytest.mark.parametrize("ok", [True, False])
def test_no_window_is_one_look(ok: bool) -> None:
    found = Application(ok).watched(0)
    assert (found.ok, found.checks) == (ok, 1)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")
