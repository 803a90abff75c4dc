"""Functions that the tests of the jobs room run in child processes."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from wherry.core.errors import SpecMismatchError, ToolchainMissingError


@dataclass(frozen=True, kw_only=True)
class Ask:
    text: str = ""
    number: int = 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    text: str
    pid: int
    environment: dict[str, str]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def answer(ask: Ask) -> Answer:
    say('{"text": "not the result"}')
    sys.stderr.write("chatter\n")
    return Answer(text=ask.text * ask.number, pid=os.getpid(), environment=dict(os.environ))


def refuse(ask: Ask) -> Answer:
    raise SpecMismatchError(ask.text, next_step="mend it")


def refuse_with_default(ask: Ask) -> Answer:
    raise ToolchainMissingError(ask.text)


def stumble(ask: Ask) -> Answer:
    raise ZeroDivisionError(ask.text)


def crash(ask: Ask) -> Answer:
    say("about to fall")
    os.kill(os.getpid(), ask.number)
    raise AssertionError


def leave(ask: Ask) -> Answer:
    say("leaving")
    os._exit(ask.number)


def hang(ask: Ask) -> Answer:
    """Start a grandchild that ignores polite signals, note both process ids, and wait."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
    grandchild = subprocess.Popen([sys.executable, "-c", code])
    Path(ask.text).write_text(f"{os.getpid()} {grandchild.pid}")
    say("waiting")
    time.sleep(300)
    raise AssertionError


def grow(ask: Ask) -> Answer:
    say("growing")
    hoard = []
    for _ in range(ask.number):
        hoard.append(bytearray(os.urandom(2**20) * 16))
        time.sleep(0.02)
    time.sleep(300)
    raise AssertionError(len(hoard))


def no_memory(ask: Ask) -> Answer:
    raise MemoryError


def talk(ask: Ask) -> int:
    for index in range(ask.number):
        say(f"line {index}")
    sys.stdout.write("10%\r50%\r100%\n")
    sys.stdout.write("x" * 10_000)
    return ask.number


def wrong_type(ask: Ask) -> str:
    return "text"


def bare(ask):
    return ask
