"""Installs that die: real processes, forked so that no test pays for starting Python again."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.agent.world import Device, weights
from wherry.agent import AgentEvent, State, install, status
from wherry.agent.journal import Journal
from wherry.agent.layout import Layout
from wherry.agent.publish import is_intact
from wherry.bundle.release import open_release


def in_process(work: Callable[[], object]) -> int:
    """Run `work` in a process of its own and return how that ended: 0, 1 for an error, or minus the signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def dies_at(state: State, kind: str) -> Callable[[AgentEvent], None]:
    """Return a watcher that kills its own process when the install enters or leaves `state`."""

    def watch(event: AgentEvent) -> None:
        if (event.state, event.kind) == (state, kind):
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


def assert_whole(device: Device, *allowed: int | None) -> int | None:
    """Check everything a device promises after a crash, and return the number of the release that is live."""
    found = status(device.root)
    layout = Layout(device.root)
    assert found.problems == ()
    assert (found.state, found.trial, found.busy) == (State.IDLE, False, False)
    assert found.number in allowed
    assert Journal(layout.journal).problems() == []
    leftovers = [path for path in device.root.rglob("*") if path.name.startswith(".") and path.name.endswith(".part")]
    assert leftovers == []
    if found.live is None:
        assert device.models == {}
        return None
    release = open_release(device.root / "releases" / "EmberEye" / found.live, verify_bytes=True)
    assert release.main.read_bytes() == weights(release.manifest.release)
    assert Path(found.model_file).read_bytes() == release.main.read_bytes()
    assert is_intact(layout, found.live)
    assert status(device.root).recovery is not None
    assert status(device.root).recovery.what == ""
    return release.manifest.release


def assert_installs(device: Device, bundle: Path, number: int) -> None:
    """Check that the device takes `bundle` after what it went through."""
    assert install(device.root, bundle).outcome in {"installed", "already_installed"}
    assert assert_whole(device, number) == number
