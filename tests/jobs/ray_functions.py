"""What the tests of the cluster run there."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from wherry.core.errors import SpecMismatchError
from wherry.core.job import Luggage


@dataclass(frozen=True, kw_only=True)
class Copy:
    source: str
    folder: str
    main: str
    """A file of that folder."""
    out: str
    text: str = ""

    def luggage(self) -> Luggage:
        return Luggage(files=(self.source,), folders=(self.folder,), out=(self.out,))


@dataclass(frozen=True, kw_only=True)
class Copied:
    paths: tuple[str, ...]
    pid: int


def copy(job: Copy) -> Copied:
    sys.stdout.write("copying\n")
    out = Path(job.out)
    assert list(out.iterdir()) == []
    (out / "deep").mkdir()
    (out / "deep" / "copy.bin").write_bytes(Path(job.source).read_bytes())
    beside = sorted(path.name for path in Path(job.main).parent.rglob("*") if path.is_file())
    (out / "beside.txt").write_text(" ".join(beside))
    return Copied(paths=(job.source, job.folder, job.main, job.out), pid=os.getpid())


def linger(job: Copy) -> Copied:
    Path(job.text).write_text(str(os.getpid()))
    time.sleep(300)
    raise AssertionError


def refuse(job: Copy) -> Copied:
    raise SpecMismatchError("The spec is wrong.", next_step="mend it")


def crash(job: Copy) -> Copied:
    sys.stdout.write("about to fall\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def kill_the_worker(job: Copy) -> Copied:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
    raise AssertionError


def meet(job: Copy) -> Copied:
    """Wait until a second one is here: where a node has one processor, it is on another node."""
    meeting = Path(job.text)
    (meeting / str(os.getpid())).write_text("here")
    deadline = time.monotonic() + 50
    while len(list(meeting.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return Copied(paths=(), pid=os.getpid())
