"""Bad input and bad days: full disks, damaged state files, two at once, Ctrl-C, a clock that goes back."""

import errno
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.agent.crash import assert_installs, assert_whole
from tests.agent.world import NOW, Device, Publisher
from wherry import durable
from wherry.agent import (
    AgentEvent,
    Hooks,
    State,
    current_release,
    history,
    init_device,
    install,
    recover,
    rollback,
    status,
    verify,
)
from wherry.agent.layout import Layout
from wherry.agent.lock import device_lock
from wherry.agent.placing import place
from wherry.core.errors import (
    BadInputError,
    BusyError,
    ExpiredError,
    NotFoundError,
    RefusedError,
    StorageError,
    TrustError,
    UsageError,
)

pytestmark = pytest.mark.usefixtures("in_process_proof")


@pytest.mark.slow
@pytest.mark.parametrize("lasting", [True, False])
def test_a_disk_that_is_full_at_any_write(
    make_device: Callable[[str], Device], bundles: dict[int, Path], monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    """The n-th durable write finds no space, and with `lasting` every one after it."""
    template = make_device("template")
    template.init(health=True)
    install(template.root, bundles[1])
    for number in range(1, 200, 1 if lasting else 2):
        device = make_device(f"copy{number}")
        shutil.copytree(template.root, device.root)
        with monkeypatch.context() as patched:
            full = _full_from(patched, number, lasting=lasting)
            with suppress(StorageError):
                install(device.root, bundles[2])
        assert assert_whole(device, 1, 2) is not None
        assert_installs(device, bundles[2], 2)
        shutil.rmtree(device.root)
        if not full():
            break
    assert number > 15


def test_a_full_disk_can_still_go_back(
    installed: Device, bundles: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a way back cannot do without is one write into a slot that has its space already."""
    before = current_release(installed.root).folder

    def full_in_probation(event: AgentEvent) -> None:
        if (event.state, event.kind) == (State.PROBATION, "entered"):
            installed.healthy.write_text("no")
            _full_from(monkeypatch, 1, lasting=True)

    with pytest.raises(StorageError, match="disk is full"):
        install(installed.root, bundles[2], on_event=full_in_probation)
    assert current_release(installed.root).folder == before
    assert status(installed.root).problems != ()
    monkeypatch.undo()
    assert assert_whole(installed, 1) == 1


def test_two_at_once(installed: Device, bundles: dict[int, Path]) -> None:
    """One install holds the lock in a process of its own; the other is told so, and `status` still answers."""
    inside = installed.root.parent / "inside"
    leave = installed.root.parent / "leave"

    def wait_in_gate(event: AgentEvent) -> None:
        if (event.state, event.kind) == (State.GATE, "entered"):
            inside.write_text("")
            while not leave.exists():
                time.sleep(0.01)

    child = os.fork()
    if child == 0:
        try:
            install(installed.root, bundles[2], on_event=wait_in_gate)
        finally:
            os._exit(0)
    while not inside.exists():
        time.sleep(0.01)
    with pytest.raises(BusyError, match=f"process {child}"):
        install(installed.root, bundles[3])
    found = status(installed.root)
    assert (found.busy, found.state, found.number) == (True, State.GATE, 1)
    leave.write_text("")
    os.waitpid(child, 0)
    assert assert_whole(installed, 2) == 2


@pytest.mark.parametrize("state", [State.FETCH, State.GATE, State.SWITCH, State.PROBATION, State.COMMIT])
def test_ctrl_c(installed: Device, bundles: dict[int, Path], state: State) -> None:
    def interrupt(event: AgentEvent) -> None:
        if (event.state, event.kind) == (state, "entered"):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        install(installed.root, bundles[2], on_event=interrupt)
    assert assert_whole(installed, 1, 2) == (2 if state is State.COMMIT else 1)
    assert_installs(installed, bundles[2], 2)


def test_ctrl_c_while_a_hook_runs_ends_the_hook(installed: Device, bundles: dict[int, Path]) -> None:
    installed.init(hooks=Hooks(restart=("sh", "-c", "kill -INT $PPID; sleep 60")))
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        install(installed.root, bundles[2])
    installed.init()
    assert time.monotonic() - started < 150
    assert assert_whole(installed, 1) == 1


def test_a_hook_that_hangs_is_a_release_that_is_not_healthy(installed: Device, bundles: dict[int, Path]) -> None:
    installed.init(hooks=Hooks(health=("sleep", "60"), health_timeout_s=0.2))
    report = install(installed.root, bundles[2])
    assert report.outcome == "rolled_back"
    assert "did not end within 0.2 seconds" in report.why
    assert assert_whole(installed, 1) == 1


def test_a_restart_that_fails_is_a_release_that_is_not_healthy(installed: Device, bundles: dict[int, Path]) -> None:
    installed.init(hooks=Hooks(restart=("sh", "-c", "exit 4")))
    report = install(installed.root, bundles[2])
    assert (report.outcome, report.why) == ("rolled_back", "sh ended with 4.")


def test_a_clock_that_goes_back(installed: Device, bundles: dict[int, Path]) -> None:
    with pytest.raises(ExpiredError, match="clock"):
        install(installed.root, bundles[2], now=NOW - timedelta(days=3650))
    with pytest.raises(ExpiredError):
        install(installed.root, bundles[2], now=NOW + timedelta(days=3650))
    assert assert_whole(installed, 1) == 1
    assert_installs(installed, bundles[2], 2)


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Take away the right to write below a folder, from root as well."""
    made: list[Path] = []

    def lock_down(root: Path) -> None:
        for path in (root, *root.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        made.append(root)
        if os.geteuid() == 0:
            os.seteuid(65534)

    yield lock_down
    if os.getuid() == 0:
        os.seteuid(0)
    for root in made:
        for path in (root, *root.rglob("*")):
            path.chmod(0o755)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass through, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_read_only_device(
    publisher: Publisher, bundles: dict[int, Path], open_folder: Path, read_only: Callable[[Path], None]
) -> None:
    device = Device(open_folder / "device", publisher)
    device.init()
    install(device.root, bundles[1])
    bundle = Path(shutil.copy(bundles[2], open_folder))
    bundle.chmod(0o644)
    read_only(device.root)
    with pytest.raises(StorageError, match="No permission"):
        install(device.root, bundle)
    with pytest.raises(StorageError, match="No permission"):
        init_device(open_folder / "device" / "other", product="EmberEye", root_key=b"{}")
    found = status(device.root)
    assert (found.number, found.live is not None) == (1, True)
    assert any("No permission" in problem for problem in found.problems)
    assert current_release(device.root).manifest.release == 1


def test_what_is_not_a_device(tmp_path: Path, bundles: dict[int, Path]) -> None:
    for command in (status, verify, recover, history, current_release, partial(install, bundle=bundles[1])):
        with pytest.raises(NotFoundError, match="is not a wherry device"):
            command(tmp_path)


def test_nothing_installed(device: Device) -> None:
    device.init()
    assert status(device.root).live is None
    with pytest.raises(NotFoundError, match="Nothing is installed"):
        verify(device.root)
    with pytest.raises(NotFoundError):
        install(device.root, device.root / "no-such-bundle.zip")


def test_init_again_changes_settings_and_nothing_else(installed: Device, tmp_path: Path) -> None:
    config = installed.init(keep=7, probation_s=3.0)
    assert (config.keep, config.probation_s) == (7, 3.0)
    assert assert_whole(installed, 1) == 1
    with pytest.raises(RefusedError, match="is a device for EmberEye"):
        init_device(installed.root, product="Lantern", root_key=installed.publisher.root_key)
    with pytest.raises(RefusedError, match="trusts another publisher"):
        init_device(installed.root, product="EmberEye", root_key=Publisher(tmp_path / "other").root_key)
    assert assert_whole(installed, 1) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"probation_s": -1.0},
        {"probe_interval_s": 0.0},
        {"keep": 0},
        {"hooks": Hooks(restart=())},
        {"hooks": Hooks(health=("",))},
        {"hooks": Hooks(health=("true",), health_timeout_s=0)},
    ],
)
def test_settings_without_sense(device: Device, settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        device.init(**settings)
    assert not device.root.exists()


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="product"):
        init_device(tmp_path / "device", product="../escape", root_key=b"{}")


def test_a_lost_root_of_trust(installed: Device, bundles: dict[int, Path]) -> None:
    (Layout(installed.root).trust / "pinned.root.json").unlink()
    with pytest.raises(TrustError, match="lost the root"):
        install(installed.root, bundles[2])
    installed.init()
    assert_installs(installed, bundles[2], 2)


def test_a_lost_root_of_trust_is_not_replaced_by_another(installed: Device, tmp_path: Path) -> None:
    layout = Layout(installed.root)
    other = Publisher(tmp_path / "other").root_key
    (layout.trust / "pinned.root.json").unlink()
    with pytest.raises(RefusedError, match="trusts another publisher"):
        init_device(installed.root, product="EmberEye", root_key=other)
    installed.init()
    layout.config.unlink()
    with pytest.raises(RefusedError, match="trusts another publisher"):
        init_device(installed.root, product="EmberEye", root_key=other)


def test_a_rollback_needs_a_name_and_a_reason(installed: Device) -> None:
    with pytest.raises(UsageError):
        rollback(installed.root, who="ada", why=" ")


def test_a_report_that_cannot_be_written_does_not_undo_an_install(installed: Device, bundles: dict[int, Path]) -> None:
    Layout(installed.root).last_install.unlink()
    Layout(installed.root).last_install.mkdir()
    assert install(installed.root, bundles[2]).outcome == "installed"
    assert assert_whole(installed, 2) == 2


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with device_lock(path), pytest.raises(BusyError, match=str(os.getpid())), device_lock(path):
        pass
    with device_lock(path):
        pass
    with pytest.raises(StorageError), device_lock(tmp_path / "no" / "lock"):
        pass


def test_placing_without_links_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination = tmp_path / "a", tmp_path / "sub" / "b"
    source.write_bytes(b"bytes")

    def no_links(*args: object, **options: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    place(source, destination)
    place(source, destination)
    assert destination.read_bytes() == b"bytes"
    assert destination.stat().st_ino != source.stat().st_ino
    assert [path.name for path in destination.parent.iterdir()] == ["b"]


def test_placing_twice_leaves_nothing_behind(tmp_path: Path) -> None:
    source, destination = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"bytes")
    place(source, destination)
    place(source, destination)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def _full_from(patch: pytest.MonkeyPatch, number: int, *, lasting: bool) -> Callable[[], bool]:
    """Let the `number`-th durable write find a full disk; return whether it came to that."""
    count = [0]
    real = durable.fsync_file

    def fsync_file(descriptor: int) -> None:
        count[0] += 1
        if count[0] == number or (lasting and count[0] > number):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    patch.setattr(durable, "fsync_file", fsync_file)
    return lambda: count[0] >= number
