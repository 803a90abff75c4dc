"""Files of the device's own that were damaged, lost or touched: each is noticed, and the device goes on."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.agent.crash import assert_installs, assert_whole, in_process
from tests.agent.world import Device, weights
from wherry.agent import AgentEvent, State, current_release, history, install, recover, rollback, status, verify
from wherry.agent.layout import Layout
from wherry.core.errors import DeviceError, DocumentError, TrustError

pytestmark = pytest.mark.usefixtures("in_process_proof")


@pytest.mark.parametrize("data", [b"", b"{", b"\0" * 300, b'{"schema": 9}', b'{"schema": 1, "state": "DANCING"}'])
def test_a_transaction_that_cannot_be_read(installed: Device, bundles: dict[int, Path], data: bytes) -> None:
    Layout(installed.root).transaction.write_bytes(data)
    found = recover(installed.root)
    assert "the pointer decided" in found.repaired[0]
    assert assert_whole(installed, 1) == 1
    assert_installs(installed, bundles[2], 2)


@pytest.mark.slow
def test_a_lost_transaction_on_trial_goes_back(installed: Device, bundles: dict[int, Path]) -> None:
    def die(event: AgentEvent) -> None:
        if (event.state, event.kind) == (State.PROBATION, "leaving"):
            Layout(installed.root).transaction.write_bytes(b"rubbish")
            os.kill(os.getpid(), signal.SIGKILL)

    in_process(partial(install, installed.root, bundles[2], on_event=die))
    assert assert_whole(installed, 1) == 1
    assert_installs(installed, bundles[2], 2)


def test_both_slots_lost(installed: Device, bundles: dict[int, Path]) -> None:
    install(installed.root, bundles[2])
    for slot in (0, 1):
        Layout(installed.root).pointer(slot).write_bytes(b"rubbish")
    found = status(installed.root)
    assert (found.number, found.previous) == (2, None)
    assert found.recovery is not None
    assert "the journal says" in found.recovery.repaired[0]
    assert_installs(installed, bundles[3], 3)


def test_both_slots_and_the_journal_lost(installed: Device, bundles: dict[int, Path]) -> None:
    layout = Layout(installed.root)
    for slot in (0, 1):
        layout.pointer(slot).unlink()
    layout.journal.unlink()
    found = status(installed.root)
    assert found.live is None
    assert installed.models["EmberEye.null"] == weights(1)
    assert_installs(installed, bundles[2], 2)


@pytest.mark.parametrize("name", ["refusals", "published", "last_install"])
def test_lists_that_cannot_be_read_are_empty_ones(installed: Device, bundles: dict[int, Path], name: str) -> None:
    getattr(Layout(installed.root), name).write_bytes(b"\xff rubbish")
    assert status(installed.root).number == 1
    assert assert_whole(installed, 1) == 1
    assert_installs(installed, bundles[2], 2)


def test_settings_that_cannot_be_read(installed: Device) -> None:
    Layout(installed.root).config.write_bytes(b"{}")
    with pytest.raises(DocumentError, match=r"device\.json"):
        status(installed.root)


def test_the_published_view_is_put_right(installed: Device) -> None:
    model = installed.root / "models" / "EmberEye.null"
    model.unlink()
    model.write_bytes(b"somebody was here")
    found = status(installed.root)
    assert found.recovery is not None
    assert "put right" in found.recovery.repaired[0]
    assert model.read_bytes() == weights(1)
    assert history(installed.root)[-1].kind == "repaired"


def test_a_damaged_live_release_is_told_and_not_hidden(installed: Device) -> None:
    (current_release(installed.root).folder / "READY").unlink()
    (installed.root / "models" / "EmberEye.null").unlink()
    found = status(installed.root)
    assert any("READY is missing" in problem for problem in found.problems)
    report = verify(installed.root)
    assert not report.passed
    assert "not as it was installed" in report.message
    with pytest.raises(TrustError):
        current_release(installed.root)


def test_verify_sees_the_view_and_the_journal(installed: Device) -> None:
    assert verify(installed.root).passed
    layout = Layout(installed.root)
    model = installed.root / "models" / "EmberEye.null"
    found = model.stat()
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.unlink()
    model.write_bytes(data)
    os.utime(model, ns=(found.st_atime_ns, found.st_mtime_ns))
    (installed.root / "models" / "EmberEye_config.json").chmod(0o644)
    layout.journal.write_bytes(layout.journal.read_bytes().replace(b"verified", b"nothing!"))
    report = verify(installed.root)
    assert any("journal" in problem for problem in report.problems)
    assert any("EmberEye.null is not what was installed" in problem for problem in report.problems)
    assert report.report is not None
    assert report.report.passed


def test_a_damaged_previous_release_is_not_gone_back_to(installed: Device, bundles: dict[int, Path]) -> None:
    old = current_release(installed.root).main
    install(installed.root, bundles[2])
    old.chmod(0o644)
    old.write_bytes(b"rubbish")
    with pytest.raises(DeviceError, match="damaged"):
        rollback(installed.root, who="ada", why="testing")
    assert assert_whole(installed, 2) == 2
