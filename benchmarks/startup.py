"""How long the command line takes to start, beside a bare Python and beside Python with typer, in one run.

    python benchmarks/startup.py [ROOT]     ROOT: a device's folder, for `wherry device status`

Prints the median of whole processes, interleaved, in seconds, and the ratio to a bare Python. The budget for
`wherry --help` and `wherry device status` is 0.3 s.
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 15


def commands(root: str | None) -> dict[str, list[str]]:
    """Return what is compared."""
    python = sys.executable
    found = {
        "python -c pass": [python, "-c", "pass"],
        "import typer": [python, "-c", "import typer"],
        "wherry --help": [python, "-m", "wherry", "--help"],
    }
    if root is not None:
        found["wherry device status"] = [python, "-m", "wherry", "device", "status", "--root", root]
    return found


def main() -> None:
    """Measure and print."""
    chosen = commands(sys.argv[1] if len(sys.argv) > 1 else None)
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(ROUNDS):
        for name, words in chosen.items():
            started = time.perf_counter()
            subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - started)
    bare = statistics.median(times["python -c pass"])
    for name, seen in times.items():
        median = statistics.median(seen)
        print(f"{name:22} median {median:.3f} s  min {min(seen):.3f}  max {max(seen):.3f}  {median / bare:5.1f} x bare")


if __name__ == "__main__":
    main()
