"""Any sequence of installs, crashes, sick applications, rollbacks and starts: the device is always whole."""

import shutil
import signal
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.agent.crash import assert_whole, dies_at, in_process
from tests.agent.world import Device, Publisher, flipped
from wherry.agent import State, history, install, recover, rollback, status
from wherry.agent.pointer import decode_slot
from wherry.core.errors import DigestMismatchError, ProofRefusedError, RefusedError, WherryError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process_proof")]

WRONG = {4, 8}
"""Releases that were changed after their proof and before they were signed."""
LAST = 12
moments = st.tuples(
    st.sampled_from([state for state in State if state is not State.IDLE]), st.sampled_from(["entered", "leaving"])
)


class Life(RuleBasedStateMachine):
    """A device's life. `live` is what a perfect device would have; None for nothing."""

    site: Publisher
    releases: dict[int, Path]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="wherry-life-"))
        self.device = Device(self.folder / "device", self.site)
        self.device.init(health=True, restart=True)
        self.live: int | None = None
        self.next = 1
        self.possible: set[int | None] = {None}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def take(self) -> int:
        self.next += 1
        return self.next - 1

    @precondition(lambda self: self.next <= LAST)
    @rule()
    def install_the_next(self) -> None:
        number = self.take()
        if number in WRONG:
            with pytest.raises(ProofRefusedError):
                install(self.device.root, self.releases[number])
        else:
            assert install(self.device.root, self.releases[number]).outcome == "installed"
            self.live = number

    @precondition(lambda self: self.next <= LAST)
    @rule()
    def install_a_flipped_one(self) -> None:
        with pytest.raises(DigestMismatchError):
            install(self.device.root, flipped(self.releases[self.next], self.folder / "flipped.zip"))

    @precondition(lambda self: self.next <= LAST and self.next not in WRONG)
    @rule()
    def install_with_a_sick_application(self) -> None:
        number = self.take()
        self.device.healthy.write_text("no")
        assert install(self.device.root, self.releases[number]).outcome == "rolled_back"
        self.device.healthy.write_text("yes")
        with pytest.raises(RefusedError, match="already went back"):
            install(self.device.root, self.releases[number])

    @precondition(lambda self: self.next <= LAST)
    @rule(moment=moments, sick=st.booleans())
    def die_in_an_install(self, moment: tuple[State, str], sick: bool) -> None:
        number = self.take()
        self.device.healthy.write_text("no" if sick else "yes")
        code = in_process(partial(install, self.device.root, self.releases[number], on_event=dies_at(*moment)))
        self.device.healthy.write_text("yes")
        assert code in {-signal.SIGKILL, 0, 1}
        recover(self.device.root)
        if number not in WRONG and not sick and (code == 0 or moment[0] in {State.COMMIT, State.CLEANUP}):
            self.live = number

    @rule()
    def go_back(self) -> None:
        before = status(self.device.root)
        if before.previous is None:
            with pytest.raises(WherryError):
                rollback(self.device.root, who="ada", why="testing")
            return
        rollback(self.device.root, who="ada", why="testing")
        self.live = int(before.previous.split("-", maxsplit=1)[0])

    @rule(file=st.sampled_from(["transaction.json", "refused.json", "published.json"]), data=st.binary(max_size=30))
    def a_state_file_is_damaged(self, file: str, data: bytes) -> None:
        (self.device.root / "state" / file).write_bytes(data)
        recover(self.device.root)

    @rule(slot=st.sampled_from([0, 1]))
    def the_slot_that_is_not_in_effect_is_damaged(self, slot: int) -> None:
        path = self.device.root / "state" / f"pointer.{slot}.json"
        other = self.device.root / "state" / f"pointer.{1 - slot}.json"
        if _seq(other) > _seq(path):
            path.write_bytes(b"rubbish" * 9)

    @rule()
    def somebody_removes_the_model(self) -> None:
        (self.device.root / "models" / "EmberEye.null").unlink(missing_ok=True)
        recover(self.device.root)

    @invariant()
    def the_device_is_whole(self) -> None:
        assert assert_whole(self.device, self.live) == self.live
        entries = history(self.device.root)
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))


def _seq(slot: Path) -> int:
    pointer = decode_slot(slot.read_bytes())
    return pointer.seq if pointer else -1


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> type[Life]:
    site = Publisher(tmp_path_factory.mktemp("life"))
    Life.site = site
    Life.releases = {number: site.bundle(number, wrong=number in WRONG) for number in range(1, LAST + 1)}
    return Life


def test_any_life(life: type[Life]) -> None:
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=12,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
