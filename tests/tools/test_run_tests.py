import pytest

from tools import run_tests


@pytest.mark.parametrize(
    "line",
    [
        "======================= 12 passed in 7.31s ========================",
        "=========== 1 failed, 2 passed, 3 deselected in 75.02s (0:01:15) ===========",
        "===== no tests ran in 0.01s =====",
        "12 passed, 1 warning in 7.31s",
    ],
)
def test_the_closing_line_is_known(line: str) -> None:
    assert run_tests.CLOSING_LINE.fullmatch(line)


@pytest.mark.parametrize(
    "line", ["=== short test summary info ===", "tests/test_a.py: 12 passed in 7.31s", "== warnings =="]
)
def test_other_lines_are_not_taken_for_it(line: str) -> None:
    assert not run_tests.CLOSING_LINE.fullmatch(line)


def test_skips_are_counted_and_only_the_platform_excuses_one() -> None:
    lines = [
        "tests/a/test_a.py ..s [100%]",
        "SKIPPED [2] tests/a/test_a.py:7: needs Windows",
        "SKIPPED [1] tests/a/test_b.py:9: could not import 'onnx': No module named 'onnx'",
        "SKIPPED [1] tests/a/test_c.py: unconditional skip",
    ]
    count, unexcused = run_tests.skips(lines)
    assert count == 4
    assert unexcused == [
        "tests/a/test_b.py:9: could not import 'onnx': No module named 'onnx'",
        "tests/a/test_c.py: unconditional skip",
    ]


def ended(status: int, *lines: str) -> tuple[int, list[str]]:
    return status, ["collected 3 items", *lines, "=== 3 passed in 0.10s ==="]


@pytest.mark.parametrize(
    ("run", "missed", "status", "said"),
    [
        (ended(0), [], 0, "skipped tests: 0"),
        (ended(0, "SKIPPED [1] t.py:1: needs macOS"), [], 0, "skipped tests: 1"),
        (ended(0, "SKIPPED [1] t.py:1: no onnx"), [], 1, "FAILED skipped without a good reason: t.py:1: no onnx"),
        (ended(1), [], 1, "FAILED pytest ended with status 1"),
        (ended(0), ["coverage is low"], 1, "FAILED coverage is low"),
    ],
)
def test_the_verdict_and_the_last_line(
    run: tuple[int, list[str]],
    missed: list[str],
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run_tests, "run_pytest", lambda options: run)
    monkeypatch.setattr(run_tests, "coverage", lambda *arguments: 0)
    monkeypatch.setattr(run_tests, "gates", lambda: missed)
    assert run_tests.main([]) == status
    lines = capsys.readouterr().out.splitlines()
    assert said in lines
    assert lines[-1] == "=== 3 passed in 0.10s ==="


def test_a_run_that_broke_off_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run_tests, "run_pytest", lambda options: (3, ["INTERNALERROR"]))
    monkeypatch.setattr(run_tests, "coverage", lambda *arguments: 0)
    assert run_tests.main([]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "pytest did not get to its closing line"


@pytest.mark.parametrize(("failing", "count"), [("", 0), ("--fail-under=90", 1), ("--fail-under=100", 1)])
def test_each_gate_is_asked_of_coverage(failing: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tests, "coverage", lambda *arguments: 2 if failing in arguments else 0)
    assert len(run_tests.gates()) == count
