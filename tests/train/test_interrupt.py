"""Ctrl-C, or worse, in a real process leaves a run that the next call carries on to the same end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wherry.train.examples import Examples
from wherry.train.recipes import recipe_named
from wherry.train.run import LAST, RESULT, RoundData, train

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals are sent the POSIX way")]
torch = pytest.importorskip("torch")
EPOCHS = 60

PROGRAM = """
import sys
from pathlib import Path
from tests.train.test_interrupt import begin

begin(sys.argv[1], Path(sys.argv[2]))
"""


def data() -> RoundData:
    random = np.random.default_rng(0)
    images = random.integers(0, 17, (64, 8, 8), dtype=np.uint8)
    names = tuple(str(number) for number in range(10))
    return RoundData(examples=Examples(images=images, labels=random.integers(0, 10, 64), class_names=names))


def begin(recipe: str, out: Path) -> None:
    """Run in the process that is stopped: says when each epoch is safe."""
    torch.set_num_threads(1)
    chosen = replace(recipe_named(recipe), epochs=EPOCHS)
    train(chosen, data(), out=out, on_epoch=lambda record: os.write(1, b"%d\n" % record.number))


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "digits"), (signal.SIGKILL, "null")])
def test_a_process_that_is_stopped_can_be_carried_on(number: signal.Signals, name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, name, str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n", process.communicate()[1]
    process.send_signal(number)
    printed, errors = process.communicate(timeout=120)
    safe = [1, *map(int, printed.split())][-1]

    assert process.returncode != 0
    assert ("KeyboardInterrupt" in errors) is (number is signal.SIGINT)
    assert safe < EPOCHS
    assert (out / LAST).is_file()
    assert not (out / RESULT).exists()

    recipe = replace(recipe_named(name), epochs=EPOCHS)
    told: list[int] = []
    resumed = train(recipe, data(), out=out, strategy="resume", on_epoch=lambda record: told.append(record.number))
    whole = train(recipe, data(), out=tmp_path / "whole")

    assert told[0] in (safe + 1, safe + 2)
    assert told[-1] == EPOCHS
    assert resumed.resumed == 1
    assert resumed.sha256 == whole.sha256
