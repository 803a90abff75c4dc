"""How fast `wherry scan` reads, and how much memory it takes, beside `sha256sum` on the same file in the same run.

    python benchmarks/scan_speed.py [MEGABYTES]     size of the files that are made, 200 by default

Prints for each kind of file the median of whole processes: seconds, MB/s, CPU seconds for 100 MB, the peak of memory,
and the ratio of the CPU seconds to those of `sha256sum`. The budgets are 0.3 s to start beyond a bare `wherry --help`,
1 CPU second for 100 MB, and 150 MB of memory whatever the size. Needs a POSIX system.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5


@dataclass(frozen=True)
class Spent:
    """What one process took."""

    wall: float
    cpu: float
    """User and system seconds."""
    peak: float
    """Peak of resident memory in MB."""


def run(words: list[str]) -> Spent:
    """Run a process to its end and return what the system counted for it."""
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os.execvp(words[0], words)
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 3):
        message = f"{words} ended with {status}"
        raise SystemExit(message)
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Spent(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def median(words: list[str]) -> Spent:
    """Return the medians of several runs."""
    seen = [run(words) for _ in range(ROUNDS)]
    return Spent(*(statistics.median(getattr(one, name) for one in seen) for name in ("wall", "cpu", "peak")))


def make(folder: Path, megabytes: int) -> None:
    """Make a file of each kind, full of numbers; in a process of its own, whose memory then is not counted."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    count = max(1, megabytes)
    state = {f"layer{index}.weight": torch.randn(512, 512) for index in range(count)}
    torch.save(state, folder / "state.pt")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    save_file(state, folder / "state.safetensors")
    quarter = {name: value.numpy() for name, value in list(state.items())[: count // 4]}
    np.savez_compressed(folder / "arrays.npz", **quarter)
    many = {f"layer{index}.weight": torch.ones(1) for index in range(20_000)}
    torch.save(many, folder / "many.pt")
    torch.save(torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(count))), folder / "module.pt")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("megabytes", nargs="?", type=int, default=200)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make is not None:
        make(given.make, given.megabytes)
        return
    wherry = [sys.executable, "-m", "wherry"]
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.executable, __file__, str(given.megabytes), "--make", name], check=True)
        made = {path.name: path for path in sorted(Path(name).iterdir())}
        bare = median([*wherry, "--help"])
        tiny = Path(name) / "tiny.safetensors"
        tiny.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        start = median([*wherry, "scan", str(tiny)])
        print(f"wherry --help          {bare.wall:6.3f} s  {bare.cpu:6.3f} CPU s  {bare.peak:6.1f} MB")
        print(f"wherry scan of 10 bytes {start.wall:5.3f} s  {start.cpu:6.3f} CPU s  {start.peak:6.1f} MB")
        print(f"{'file':20} {'MB':>6} {'s':>7} {'MB/s':>7} {'CPU s/100 MB':>13} {'peak MB':>8} {'x sha256sum':>12}")
        for label, path in made.items():
            size = path.stat().st_size / 1e6
            scan, sums = median([*wherry, "scan", str(path)]), median(["sha256sum", str(path)])
            own = scan.cpu - start.cpu
            print(
                f"{label:20} {size:6.1f} {scan.wall:7.3f} {size / scan.wall:7.0f} {100 * own / size:13.3f} "
                f"{scan.peak:8.1f} {scan.cpu / sums.cpu:12.2f}"
            )
    print(f"OpenSSL of Python: {hashlib.sha256().name}, {ROUNDS} runs each, medians")


if __name__ == "__main__":
    main()
