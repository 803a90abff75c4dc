"""The child's side of a job: `python -m wherry.jobs.worker package.module:function FOLDER`.

Reads `spec.json` from the folder, calls the function, and leaves `result.json` or `error.json` there. Files, because
libraries write what they like to stdout and stderr. A third outcome, neither file, is a crash; the parent names it.
"""

import importlib
import inspect
import os
import signal
import sys
import threading
import typing
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.core.codec import from_json, to_json
from wherry.core.errors import UsageError, WherryError

SPEC_FILE = "spec.json"
RESULT_FILE = "result.json"
ERROR_FILE = "error.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How the function ended when it raised: enough to raise the same again in the parent."""

    error: str
    """Name of the error's class."""
    message: str
    next_step: str | None = None
    known: bool = False
    """Whether the class is one of `wherry.core.errors`."""


def find_function(name: str) -> tuple[Callable[[Any], object], type[Any]]:
    """Return the function of that name and the type of its only argument.

    Args:
        name: `package.module:function`; the function takes one annotated argument.

    Raises:
        UsageError: there is no such function, or its argument is not annotated.
    """
    module, _, attribute = name.partition(":")
    try:
        function: Callable[[Any], object] = getattr(importlib.import_module(module), attribute)
        parameters = list(inspect.signature(function).parameters)
        return function, typing.get_type_hints(function)[parameters[0]]
    except (ImportError, AttributeError, ValueError, TypeError, KeyError, IndexError) as error:
        msg = f"{name!r} is not a function of one annotated argument: {error}."
        raise UsageError(msg) from error


def work(name: str, folder: Path) -> bool:
    """Run the function on the spec in `folder`, leave its result or its error there, and return whether it gave one."""
    try:
        function, kind = find_function(name)
        spec = from_json((folder / SPEC_FILE).read_bytes(), kind, what=f"The spec of {name}")
        _leave(folder / RESULT_FILE, function(spec))
    except WherryError as error:
        failure = Failure(error=type(error).__name__, message=error.message, next_step=error.next_step, known=True)
        _leave(folder / ERROR_FILE, failure)
    except Exception as error:  # the parent decides what an unexpected error means; the traceback goes to the log
        import traceback

        traceback.print_exc()
        _leave(folder / ERROR_FILE, Failure(error=type(error).__name__, message=str(error)))
    else:
        return True
    return False


def die_with(parent: int) -> None:
    """Block until the parent's end of the pipe is closed, which it is when the parent is gone; then end everything.

    Args:
        parent: file descriptor of the reading end.
    """
    while os.read(parent, 1):
        pass
    with suppress(AttributeError):  # no process groups on Windows
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main() -> int:
    """Run as a child process; the exit code is 0 for a result and 1 for an error that was reported."""
    parent = os.dup(0)
    with Path(os.devnull).open("rb") as nothing:  # a library that asks a question gets no answer
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=die_with, args=(parent,), daemon=True).start()
    return 0 if work(sys.argv[1], Path(sys.argv[2])) else 1


def _leave(path: Path, value: object) -> None:
    """Write in one step, so that a crash in the middle leaves nothing that looks like an answer."""
    partial = path.with_suffix(".part")
    partial.write_bytes(to_json(value))
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
