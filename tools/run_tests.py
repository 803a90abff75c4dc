"""The whole suite with coverage, child processes included, and two gates: 90 % of everything, 100 % of `core`.

Tests marked `gpu` are left out, and said to be, where there is no GPU. A test may be skipped for the platform it runs
on and for nothing else: a skip for anything that the environment should hold is a failure. Options go to pytest. The
last line is pytest's own closing line.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TOTAL_GATE = 90
CORE_GATE = 100
PLATFORM_SKIP = re.compile(r"needs (Linux|Windows|macOS|POSIX|a GPU|an unprivileged user|a second file system)\b")
SKIP_LINE = re.compile(r"SKIPPED \[([0-9]+)\] (.*)")
CLOSING_LINE = re.compile(r"(=+ )?(\d+ \w+|no tests ran)\b.* in [0-9.]+s\b.*")


def has_gpu() -> bool:
    """Return whether torch can compute on a GPU here; torch is asked only where a driver is installed."""
    if shutil.which("nvidia-smi") is None:
        return False
    question = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", question], check=False).returncode == 0


def run_pytest(options: list[str]) -> tuple[int, list[str]]:
    """Run the suite under coverage and let its output through; return its exit status and what it printed."""
    command = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-n", "2", "--dist", "loadscope"]
    if not has_gpu():
        print("no GPU here: tests marked `gpu` are left out", flush=True)
        command += ["-m", "not gpu"]
    lines = []
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line.strip())
    return process.returncode, lines


def coverage(*arguments: str) -> int:
    """Run `coverage` with these arguments and return its exit status."""
    return subprocess.run([sys.executable, "-m", "coverage", *arguments], check=False).returncode


def gates() -> list[str]:
    """Combine the data of all processes and return one sentence for each gate that was missed."""
    missed = []
    coverage("combine", "--quiet")
    if coverage("report", f"--fail-under={TOTAL_GATE}"):
        missed.append(f"coverage of wherry is under {TOTAL_GATE} %")
    core = ("--include=*/wherry/core/*", f"--fail-under={CORE_GATE}", "--show-missing")
    if coverage("report", *core):
        missed.append(f"coverage of wherry.core is under {CORE_GATE} %")
    return missed


def skips(lines: list[str]) -> tuple[int, list[str]]:
    """Return how many tests were skipped, and those that were skipped for another reason than the platform."""
    found = [match for match in map(SKIP_LINE.fullmatch, lines) if match]
    return sum(int(match[1]) for match in found), [match[2] for match in found if not PLATFORM_SKIP.search(match[2])]


def main(options: list[str]) -> int:
    """Run, combine, judge: 0 only if all passed, both gates hold and nothing was skipped without a good reason."""
    os.chdir(Path(__file__).resolve().parent.parent)
    coverage("erase")
    status, lines = run_pytest(options)
    failures = [] if status == 0 else [f"pytest ended with status {status}"]
    failures += gates()
    count, unexcused = skips(lines)
    failures += [f"skipped without a good reason: {line}" for line in unexcused]
    print(f"skipped tests: {count}")
    for line in failures:
        print(f"FAILED {line}")
    closing = [line for line in lines if CLOSING_LINE.fullmatch(line)]
    print(closing[-1] if closing else "pytest did not get to its closing line")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
