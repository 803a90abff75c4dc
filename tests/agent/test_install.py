"""Install, update, refuse, roll back: on a real device root with real, signed bundles."""

import json
from pathlib import Path

import pytest

from tests.agent.world import Device, Made, Publisher, flipped, weights
from wherry.agent import AgentEvent, State, current_release, history, install, rollback, status, verify
from wherry.core.errors import (
    DigestMismatchError,
    NotFoundError,
    ProofRefusedError,
    RefusedError,
    RollbackError,
    SignatureError,
    ToolchainMissingError,
)

pytestmark = pytest.mark.usefixtures("in_process_proof")


def test_first_install_and_update(device: Device, bundles: dict[int, Path]) -> None:
    device.init(health=True, restart=True)
    first = install(device.root, bundles[1])
    assert (first.outcome, first.message) == ("installed", "imported EmberEye.null (cpu optimized)")
    assert first.backup == ()
    second = install(device.root, bundles[2])
    assert second.outcome == "installed"
    assert second.previous == first.live
    assert second.report is not None
    assert second.report.passed
    assert second.report.where == "device"
    assert second.health is not None
    assert second.health.checks >= 1
    assert device.models["EmberEye.null"] == weights(2)
    assert json.loads(device.models["EmberEye_config.json"])["version"] == 2
    model, config = sorted(second.backup, key=len)
    assert (device.root / model).read_bytes() == weights(1)
    assert model.startswith("backups/EmberEye_backup_")
    assert json.loads((device.root / config).read_text())["version"] == 1
    assert device.restarts.read_text().splitlines() == [str(device.root / "models" / "EmberEye.null")] * 2


def test_the_states_are_passed_in_order(device: Device, bundles: dict[int, Path]) -> None:
    device.init()
    events: list[AgentEvent] = []
    report = install(device.root, bundles[1], on_event=events.append)
    order = [state for state in State if state not in {State.IDLE, State.ROLLBACK}]
    assert [event.state for event in events if event.kind == "entered"] == [*order, State.IDLE]
    assert [step.state for step in report.steps] == order
    assert any(event.kind == "progress" and event.done == event.total > 0 for event in events)


def test_a_watcher_that_fails_does_not_stop_the_install(device: Device, bundles: dict[int, Path]) -> None:
    device.init()

    def closed_pipe(event: AgentEvent) -> None:
        raise BrokenPipeError

    assert install(device.root, bundles[1], on_event=closed_pipe).outcome == "installed"


def test_installing_the_same_again_changes_nothing(device: Device, bundles: dict[int, Path]) -> None:
    device.init()
    install(device.root, bundles[1])
    before = device.models
    again = install(device.root, bundles[1])
    assert again.outcome == "already_installed"
    assert device.models == before


def test_a_damaged_release_is_mended_by_installing_it_again(device: Device, bundles: dict[int, Path]) -> None:
    device.init()
    install(device.root, bundles[1])
    main = current_release(device.root).main
    main.chmod(0o644)
    main.write_bytes(weights(1)[:-1] + b"?")
    assert not verify(device.root).passed
    mended = install(device.root, bundles[1])
    assert mended.outcome == "installed"
    assert current_release(device.root).main.read_bytes() == weights(1)
    assert verify(device.root).passed


def test_a_flipped_byte_is_refused(device: Device, bundles: dict[int, Path], tmp_path: Path) -> None:
    device.init()
    install(device.root, bundles[1])
    with pytest.raises(DigestMismatchError):
        install(device.root, flipped(bundles[2], tmp_path / "flipped.zip"))
    assert device.models["EmberEye.null"] == weights(1)
    assert history(device.root)[-1].kind == "refused"
    assert install(device.root, bundles[2]).outcome == "installed"


def test_weights_corrupted_before_signing_are_refused_by_the_proof(tmp_path: Path) -> None:
    site = Publisher(tmp_path / "site")
    device = Device(tmp_path / "device", site)
    good, bad = site.bundle(1), site.bundle(2, wrong=True)
    device.init()
    install(device.root, good)
    with pytest.raises(ProofRefusedError, match="fails its proof on this device"):
        install(device.root, bad)
    found = status(device.root)
    assert (found.version, found.state) == (1, State.IDLE)
    assert device.models["EmberEye.null"] == weights(1)
    assert len(list((device.root / "releases" / "EmberEye").iterdir())) == 1


def test_an_unhealthy_release_is_taken_back_and_not_tried_again(device: Device, bundles: dict[int, Path]) -> None:
    device.init(health=True, restart=True)
    install(device.root, bundles[1])
    device.healthy.write_text("no")
    report = install(device.root, bundles[2])
    assert report.outcome == "rolled_back"
    assert "back on EmberEye v1" in report.message
    assert device.models["EmberEye.null"] == weights(1)
    assert len(device.restarts.read_text().splitlines()) == 3
    entry = history(device.root)[-1]
    assert (entry.kind, entry.release) == ("rolled_back", report.release)
    assert "not healthy" in entry.why
    device.healthy.write_text("yes")
    with pytest.raises(RefusedError, match="already went back from"):
        install(device.root, bundles[2])
    assert install(device.root, bundles[3]).outcome == "installed"
    assert status(device.root).refused == {}


def test_an_unhealthy_first_release_leaves_what_was_there(device: Device, bundles: dict[int, Path]) -> None:
    device.init(health=True)
    foreign = device.root / "models" / "EmberEye.pt"
    foreign.write_bytes(b"the model from before wherry")
    device.healthy.write_text("no")
    report = install(device.root, bundles[1])
    assert (report.outcome, report.live) == ("rolled_back", None)
    assert device.models == {"EmberEye.pt": b"the model from before wherry"}
    assert status(device.root).live is None
    with pytest.raises(NotFoundError):
        current_release(device.root)
    device.healthy.write_text("yes")
    assert install(device.root, bundles[2]).outcome == "installed"
    assert sorted(device.models) == ["EmberEye.null", "EmberEye_config.json"]
    assert any(path.read_bytes().endswith(b"before wherry") for path in (device.root / "backups").glob("*.pt"))


def test_a_release_may_change_the_extension_and_bring_companions(
    device: Device, bundles: dict[int, Path], openvino_like: Path
) -> None:
    device.init(health=True)
    install(device.root, bundles[1])
    report = install(device.root, openvino_like)
    assert report.message == "imported EmberEye.xml (cpu optimized)"
    published = {str(path.relative_to(device.root / "models")) for path in (device.root / "models").rglob("*.*")}
    assert published == {"EmberEye.xml", "EmberEye.bin", "parts/table.dat", "EmberEye_config.json"}
    assert verify(device.root).passed
    rollback(device.root, who="ada", why="testing")
    assert device.models.keys() >= {"EmberEye.null", "EmberEye_config.json"}
    assert "EmberEye.xml" not in device.models
    assert not (device.root / "models" / "parts").exists()


def test_rollback_and_back_again(device: Device, bundles: dict[int, Path]) -> None:
    device.init(restart=True, health=True)
    with pytest.raises(NotFoundError):
        rollback(device.root, who="ada", why="nothing there")
    install(device.root, bundles[1])
    with pytest.raises(RefusedError, match="no earlier release"):
        rollback(device.root, who="ada", why="too early")
    install(device.root, bundles[2])
    report = rollback(device.root, who="ada", why="too many false alarms")
    assert "from EmberEye v2" in report.message
    assert report.restart is not None
    assert report.restart.ok
    assert report.health is not None
    assert report.health.ok
    assert device.models["EmberEye.null"] == weights(1)
    entry = history(device.root)[-1]
    assert entry.why == "Rolled back by ada: too many false alarms"
    with pytest.raises(RefusedError, match="too many false alarms"):
        install(device.root, bundles[2])
    rollback(device.root, who="ada", why="it was the camera")
    assert device.models["EmberEye.null"] == weights(2)
    assert install(device.root, bundles[2]).outcome == "already_installed"
    assert verify(device.root).passed


def test_an_older_release_is_refused(device: Device, bundles: dict[int, Path]) -> None:
    device.init()
    install(device.root, bundles[3])
    with pytest.raises(RollbackError):
        install(device.root, bundles[2])


def test_a_bundle_for_another_product_or_publisher_is_refused(tmp_path: Path, device: Device) -> None:
    other = Publisher(tmp_path / "other", product="Lantern")
    bundle = other.bundle(1)
    device.init()
    with pytest.raises(SignatureError):
        install(device.root, bundle)
    lantern = Device(tmp_path / "lantern", other)
    lantern.init()
    same_key = Publisher(other.folder, product="EmberEye", made=50)
    with pytest.raises(RefusedError, match="this device is for Lantern"):
        install(lantern.root, same_key.bundle(1))


def test_the_next_variant_is_tried_when_the_first_does_not_run_here(tmp_path: Path) -> None:
    site = Publisher(tmp_path / "site")
    device = Device(tmp_path / "device", site)
    broken = Made(target="first-fp32", files={"first.bad": b"not a null model"})
    good = Made(target="second-fp32", files={"second.good": weights(1)})
    bundle = site.bundle(1, broken, good)
    device.init()
    report = install(device.root, bundle)
    assert report.target == "second-fp32"
    assert [(one.target, "null model" in one.reason) for one in report.why_nots] == [("first-fp32", True)]
    assert sorted(device.models) == ["EmberEye.good", "EmberEye_config.json"]


def test_nothing_that_runs_here(tmp_path: Path) -> None:
    site = Publisher(tmp_path / "site")
    device = Device(tmp_path / "device", site)
    absent = site.bundle(1, Made(target="alien-fp32", engine="alien", files={"a.alien": b"alien"}))
    broken = site.bundle(2, Made(target="first-fp32", files={"first.bad": b"not a null model"}))
    device.init()
    with pytest.raises(ToolchainMissingError, match="The runtime alien is not installed here"):
        install(device.root, absent)
    with pytest.raises(ProofRefusedError, match="No variant of EmberEye v2"):
        install(device.root, broken)
    assert status(device.root).live is None


def test_only_so_many_releases_and_backups_are_kept(device: Device, bundles: dict[int, Path]) -> None:
    device.init(keep=2)
    (device.root / "models" / "EmberEye.pt").write_bytes(b"from before wherry")
    for release in range(1, 10):
        install(device.root, bundles[release])
    names = sorted(path.name for path in (device.root / "releases" / "EmberEye").iterdir())
    assert [name.split("-")[0] for name in names] == ["8", "9"]
    blobs = [path for path in (device.root / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == 3
    kept = sorted((device.root / "backups").glob("EmberEye_backup_*"))
    assert any(path.read_bytes() == b"from before wherry" for path in kept)
    assert len([path for path in kept if path.suffix == ".null"]) == 5
