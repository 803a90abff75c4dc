"""Child processes that answer, refuse, crash, hang, hoard and talk."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.jobs.child_functions import Answer, Ask
from wherry.core.errors import (
    ChildError,
    DocumentError,
    SpecMismatchError,
    StorageError,
    ToolchainMissingError,
    UsageError,
)
from wherry.jobs.child import run_in_child

HERE = "tests.jobs.child_functions"
ROOT = Path(__file__).parents[2]


def gone(pid: int) -> bool:
    """Wait a moment for the process to go."""
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def wait_for(path: Path) -> list[int]:
    for _ in range(400):
        if path.is_file() and path.read_text():
            return [int(word) for word in path.read_text().split()]
        time.sleep(0.05)
    raise AssertionError("the child never started")


def test_the_answer_comes_back_and_chatter_does_not_spoil_it():
    lines: list[str] = []
    answer = run_in_child(f"{HERE}:answer", Ask(text="ab", number=3), Answer, timeout_s=60, on_log=lines.append)
    assert answer.text == "ababab"
    assert answer.pid != os.getpid()
    assert answer.environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert lines == ['{"text": "not the result"}', "chatter"]
    assert gone(answer.pid)


def test_a_wherry_error_is_the_same_error_here():
    with pytest.raises(SpecMismatchError) as caught:
        run_in_child(f"{HERE}:refuse", Ask(text="The spec is wrong."), Answer, timeout_s=60)
    assert caught.value.message == "The spec is wrong."
    assert caught.value.next_step == "mend it"
    with pytest.raises(ToolchainMissingError) as other:
        run_in_child(f"{HERE}:refuse_with_default", Ask(text="No tool."), Answer, timeout_s=60)
    assert other.value.next_step == ToolchainMissingError.default_next_step
    assert other.value.exit_code == 5


def test_any_other_error_is_named():
    lines: list[str] = []
    with pytest.raises(ChildError, match="failed with ZeroDivisionError: by nothing"):
        run_in_child(f"{HERE}:stumble", Ask(text="by nothing"), Answer, timeout_s=60, on_log=lines.append)
    assert any("Traceback" in line for line in lines)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_named_with_the_last_line(number: signal.Signals):
    with pytest.raises(ChildError, match=rf"crashed with {number.name}.*Its last line was: about to fall"):
        run_in_child(f"{HERE}:crash", Ask(number=int(number)), Answer, timeout_s=60)


def test_an_exit_without_a_result_is_an_error():
    with pytest.raises(ChildError, match="ended with exit code 0 and no result"):
        run_in_child(f"{HERE}:leave", Ask(number=0), Answer, timeout_s=60)


def test_a_child_that_hangs_is_killed_with_all_it_started(tmp_path: Path):
    note = tmp_path / "pids"
    with pytest.raises(ChildError, match=r"did not end within 3 seconds .* Its last line was: waiting"):
        run_in_child(f"{HERE}:hang", Ask(text=str(note)), Answer, timeout_s=3)
    assert all(gone(pid) for pid in wait_for(note))


def test_a_child_that_hoards_memory_is_killed():
    with pytest.raises(ChildError, match=r"ran out of memory .* at most 150 MiB"):
        run_in_child(f"{HERE}:grow", Ask(number=40), Answer, timeout_s=60, memory_bytes=150 * 2**20)


def test_a_child_that_is_refused_memory_says_so():
    with pytest.raises(ChildError, match=r"ran out of memory\. "):
        run_in_child(f"{HERE}:no_memory", Ask(), Answer, timeout_s=60)


def test_stop_kills_the_child(tmp_path: Path):
    note, stop = tmp_path / "pids", threading.Event()

    def stop_later() -> None:
        wait_for(note)
        stop.set()

    threading.Thread(target=stop_later).start()
    with pytest.raises(ChildError, match="was stopped"):
        run_in_child(f"{HERE}:hang", Ask(text=str(note)), Answer, timeout_s=60, stop=stop)
    assert all(gone(pid) for pid in wait_for(note))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_when_the_parent_is_interrupted_or_killed(tmp_path: Path, number: signal.Signals):
    note = tmp_path / "pids"
    code = (
        f"from tests.jobs.child_functions import Ask, Answer; from wherry.jobs.child import run_in_child\n"
        f"run_in_child('{HERE}:hang', Ask(text={str(note)!r}), Answer, timeout_s=200)"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL
    )
    pids = wait_for(note)
    parent.send_signal(number)
    assert parent.wait(20) != 0
    assert all(gone(pid) for pid in pids)


def test_every_line_arrives_and_a_progress_bar_ends_lines():
    lines: list[str] = []
    assert run_in_child(f"{HERE}:talk", Ask(number=5000), int, timeout_s=60, on_log=lines.append) == 5000
    assert lines[4999:5003] == ["line 4999", "10%", "50%", "100%"]
    assert sum(map(len, lines[5003:])) == 10_000


def test_an_error_in_on_log_is_raised_and_ends_the_child(tmp_path: Path):
    note = tmp_path / "pids"

    def fail(line: str) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError, match="waiting"):
        run_in_child(f"{HERE}:hang", Ask(text=str(note)), Answer, timeout_s=60, on_log=fail)
    assert all(gone(pid) for pid in wait_for(note))


def test_an_answer_of_another_type_is_refused():
    with pytest.raises(DocumentError, match="result of"):
        run_in_child(f"{HERE}:wrong_type", Ask(), Answer, timeout_s=60)


@pytest.mark.parametrize("name", ["bare", "absent", "Answer.text"])
def test_what_is_no_function_is_refused(name: str):
    with pytest.raises(UsageError, match="not a function of one annotated argument"):
        run_in_child(f"{HERE}:{name}", Ask(), Answer, timeout_s=60)


def test_a_child_that_cannot_be_started_is_a_storage_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    with pytest.raises(StorageError, match="No child process could be started"):
        run_in_child(f"{HERE}:answer", Ask(), Answer, timeout_s=60)
