"""SIGKILL in every state of the table: the device comes back on the old release or the new one, and goes on."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.agent.crash import assert_installs, assert_whole, dies_at, in_process
from tests.agent.world import Device
from wherry.agent import Hooks, Recovery, State, history, install, recover, rollback, status
from wherry.agent.config import read_config, write_config
from wherry.agent.layout import Layout
from wherry.agent.states import TABLE, Way
from wherry.core.errors import ProofRefusedError, RefusedError

pytestmark = pytest.mark.slow

IN_AN_INSTALL = [state for state in State if state not in {State.IDLE, State.ROLLBACK}]
MOMENTS = [(state, kind) for state in IN_AN_INSTALL for kind in ("entered", "leaving")]
NEW_IS_LIVE = {State.COMMIT, State.CLEANUP}


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(State)
    for state, rule in TABLE.items():
        assert rule.then
        if rule.otherwise is Way.DISCARD:
            assert State.IDLE in rule.then
        if rule.otherwise is Way.BACK:
            assert State.ROLLBACK in rule.then or State.IDLE in rule.then
        assert state is State.IDLE or state in {one for other in TABLE.values() for one in other.then}


def killed(device: Device, bundle: Path, state: State, kind: str) -> Recovery:
    code = in_process(partial(install, device.root, bundle, on_event=dies_at(state, kind)))
    assert code == -signal.SIGKILL
    return recover(device.root)


@pytest.mark.usefixtures("in_process_proof")
@pytest.mark.parametrize(("state", "kind"), MOMENTS)
def test_killed_in_a_first_install(device: Device, bundles: dict[int, Path], state: State, kind: str) -> None:
    device.init(health=True, restart=True)
    recovery = killed(device, bundles[1], state, kind)
    assert recovery.found is state
    assert assert_whole(device, None, 1) == (1 if state in NEW_IS_LIVE else None)
    assert_installs(device, bundles[1], 1)
    assert_installs(device, bundles[2], 2)


@pytest.mark.usefixtures("in_process_proof")
@pytest.mark.parametrize(("state", "kind"), MOMENTS)
def test_killed_in_an_update(device: Device, bundles: dict[int, Path], state: State, kind: str) -> None:
    device.init(health=True, restart=True)
    install(device.root, bundles[1])
    recovery = killed(device, bundles[2], state, kind)
    assert recovery.found is state
    assert assert_whole(device, 1, 2) == (2 if state in NEW_IS_LIVE else 1)
    assert [entry.release for entry in history(device.root) if entry.kind == "installed"].count(recovery.live) == 1
    assert_installs(device, bundles[2], 2)


@pytest.mark.usefixtures("in_process_proof")
@pytest.mark.parametrize("kind", ["entered", "leaving"])
@pytest.mark.parametrize("first", [True, False])
def test_killed_while_going_back(device: Device, bundles: dict[int, Path], kind: str, first: bool) -> None:
    device.init(health=True, restart=True)
    if not first:
        install(device.root, bundles[1])
    device.healthy.write_text("no")
    recovery = killed(device, bundles[2], State.ROLLBACK, kind)
    assert recovery.way is Way.BACK
    assert assert_whole(device, None, 1) == (None if first else 1)
    assert [one.number for one in status(device.root).refused.values()] == [2]
    device.healthy.write_text("yes")
    assert_installs(device, bundles[3], 3)


@pytest.mark.usefixtures("in_process_proof")
@pytest.mark.parametrize("state", [State.PROBATION, State.COMMIT])
def test_killed_in_recovery_as_well(
    make_device: Callable[[str], Device], bundles: dict[int, Path], monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    """Kill the way back, and the way forward, before each change of the disk; the next start ends it all the same."""
    template = make_device("template")
    template.init(restart=True)
    install(template.root, bundles[1])
    in_process(partial(install, template.root, bundles[2], on_event=dies_at(state, "entered")))
    for number in range(1, 1000):
        device = make_device(f"copy{number}")
        shutil.copytree(template.root, device.root)
        code = _killed_at(monkeypatch, number, partial(recover, device.root))
        recover(device.root)
        assert assert_whole(device, 1, 2) == (1 if state is State.PROBATION else 2)
        shutil.rmtree(device.root)
        if code == 0:
            break
    assert number > 10


@pytest.mark.usefixtures("in_process_proof")
def test_a_trial_that_is_cut_off_again_and_again_is_given_up(device: Device, bundles: dict[int, Path]) -> None:
    device.init(health=True)
    install(device.root, bundles[1])
    for _ in range(3):
        killed(device, bundles[2], State.PROBATION, "entered")
    with pytest.raises(RefusedError, match="cut off 3 times"):
        install(device.root, bundles[2])
    assert_installs(device, bundles[3], 3)


@pytest.mark.usefixtures("in_process_proof")
def test_a_restart_hook_that_kills_the_machine_is_given_up(device: Device, bundles: dict[int, Path]) -> None:
    device.init()
    install(device.root, bundles[1])
    deadly = f"import os,signal; os.kill(os.getppid(), signal.SIGKILL)  # {device.root}"
    device.init(hooks=_restart(deadly))
    assert in_process(partial(install, device.root, bundles[2])) == -signal.SIGKILL
    codes = [in_process(partial(recover, device.root)) for _ in range(5)]
    assert codes == [-signal.SIGKILL] * 3 + [0, 0]
    assert assert_whole(device, 1) == 1


@pytest.mark.usefixtures("in_process_proof")
@pytest.mark.parametrize(("scenario", "step"), [("first", 3), ("update", 2), ("unhealthy", 3), ("rollback", 1)])
def test_killed_at_any_change_of_the_disk(
    make_device: Callable[[str], Device],
    bundles: dict[int, Path],
    monkeypatch: pytest.MonkeyPatch,
    scenario: str,
    step: int,
) -> None:
    """Kill before the n-th change of the file system, in steps of one to three, until the command gets through."""
    template = make_device("template")
    template.init(health=True, restart=True)
    if scenario != "first":
        install(template.root, bundles[1])
    if scenario == "rollback":
        install(template.root, bundles[2])
    outcomes = set()
    for number in range(1, 1000, step):
        device = make_device(f"copy{number}")
        shutil.copytree(template.root, device.root)
        template.healthy.write_text("no" if scenario == "unhealthy" else "yes")
        code = _killed_at(monkeypatch, number, partial(_command(scenario), device.root, bundles))
        recover(device.root)
        outcomes.add(assert_whole(device, None, 1, 2))
        template.healthy.write_text("yes")
        if number % 10 == 0 or code == 0:
            assert_installs(device, bundles[3], 3)
        shutil.rmtree(device.root)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert number > 20
    assert outcomes == {"first": {None, 1}, "update": {1, 2}, "unhealthy": {1}, "rollback": {1, 2}}[scenario]


def test_killed_in_the_proof_as_it_ships(device: Device, bundles: dict[int, Path]) -> None:
    """The whole program as it runs on a device: its own interpreter, and the proof in a child of it."""
    device.init()
    assert install(device.root, bundles[1]).outcome == "installed"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from wherry.agent import install\n"
        "def watch(event):\n"
        "    if event.state.value == 'GATE' and event.kind == 'note':\n"
        "        import threading; threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()\n"
        "install(Path(sys.argv[1]), Path(sys.argv[2]), on_event=watch)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(device.root), str(bundles[2])], check=False, env=_environment()
    )
    assert done.returncode == -signal.SIGKILL
    code = (
        "import sys; from wherry.agent import recover; from pathlib import Path; print(recover(Path(sys.argv[1])).what)"
    )
    again = subprocess.run(
        [sys.executable, "-c", code, str(device.root)], check=True, env=_environment(), capture_output=True, text=True
    )
    assert "cut off in GATE" in again.stdout
    assert assert_whole(device, 1) == 1
    assert_installs(device, bundles[2], 2)


def test_a_proof_that_hangs_is_a_variant_that_does_not_run_here(device: Device, bundles: dict[int, Path]) -> None:
    device.init()
    layout = Layout(device.root)
    write_config(layout, replace(read_config(layout), gate_timeout_s=0.01))
    with pytest.raises(ProofRefusedError, match=r"did not end within 0\.01 seconds"):
        install(device.root, bundles[1])
    assert device.init().gate_timeout_s == 0.01
    assert assert_whole(device, None) is None


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def _restart(code: str) -> Hooks:
    return Hooks(restart=(sys.executable, "-S", "-c", code))


def _command(scenario: str) -> Callable[[Path, dict[int, Path]], object]:
    if scenario == "rollback":
        return lambda root, bundles: rollback(root, who="ada", why="testing")
    return lambda root, bundles: install(root, bundles[1 if scenario == "first" else 2])


def _killed_at(monkeypatch: pytest.MonkeyPatch, number: int, work: Callable[[], object]) -> int:
    """Run `work` in a process that dies before its `number`-th change of the file system; 0 if it gets through."""
    done = [0]

    def deadly(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            done[0] += 1
            if done[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        return call

    with monkeypatch.context() as patched:
        for name in ("replace", "rename", "link", "unlink", "mkdir", "rmdir", "fsync", "ftruncate", "chmod"):
            patched.setattr(os, name, deadly(getattr(os, name)))
        return in_process(work)
