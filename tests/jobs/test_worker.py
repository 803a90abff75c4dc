"""The child's side, run in this process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.child_functions import Answer, Ask
from wherry.core.codec import from_json, to_json
from wherry.core.errors import UsageError
from wherry.jobs.worker import ERROR_FILE, RESULT_FILE, SPEC_FILE, Failure, find_function, work

HERE = "tests.jobs.child_functions"


def failure(folder: Path) -> Failure:
    return from_json((folder / ERROR_FILE).read_bytes(), Failure, what="the failure")


def test_a_result_is_left(tmp_path: Path):
    (tmp_path / SPEC_FILE).write_bytes(to_json(Ask(text="x", number=2)))
    assert work(f"{HERE}:answer", tmp_path)
    assert from_json((tmp_path / RESULT_FILE).read_bytes(), Answer, what="the answer").text == "xx"
    assert sorted(path.name for path in tmp_path.iterdir()) == [RESULT_FILE, SPEC_FILE]


def test_errors_are_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / SPEC_FILE).write_bytes(to_json(Ask(text="why")))
    assert not work(f"{HERE}:refuse", tmp_path)
    expected = Failure(error="SpecMismatchError", message="why", next_step="mend it", known=True)
    assert failure(tmp_path) == expected
    assert not work(f"{HERE}:stumble", tmp_path)
    assert failure(tmp_path) == Failure(error="ZeroDivisionError", message="why")
    assert "Traceback" in capsys.readouterr().err


def test_a_spec_of_another_type_is_reported(tmp_path: Path):
    (tmp_path / SPEC_FILE).write_bytes(b'{"number": "many"}')
    assert not work(f"{HERE}:answer", tmp_path)
    assert failure(tmp_path).error == "DocumentError"


def test_the_type_of_the_spec_comes_from_the_annotation():
    assert find_function(f"{HERE}:answer")[1] is Ask
    for name in ("no.such.module:f", f"{HERE}:nothing", f"{HERE}:bare", "no colon"):
        with pytest.raises(UsageError, match="is not a function of one annotated argument"):
            find_function(name)


def test_the_worker_goes_when_its_parent_lets_go(tmp_path: Path):
    (tmp_path / SPEC_FILE).write_bytes(to_json(Ask(text=str(tmp_path / "pids"))))
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    command = [sys.executable, "-m", "wherry.jobs.worker", f"{HERE}:hang", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True) as worker:
        assert worker.stdin is not None
        worker.stdin.close()
        assert worker.wait(30) == -9
