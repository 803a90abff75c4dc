"""Jobs on a real Ray cluster of two nodes with one processor each, on this machine."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.contracts.small_program import capture, requests
from tests.jobs.ray_functions import Copied, Copy
from tests.null_road import fill
from wherry.cli import main as cli
from wherry.core.errors import BadInputError, ChildError, SpecMismatchError, ToolchainMissingError
from wherry.core.variant import Target
from wherry.export.child import file_ref
from wherry.export.run import export_all
from wherry.jobs import ray as adapter
from wherry.jobs.pool import Jobs, opened
from wherry.jobs.ray import RayRunner, connected
from wherry.registry import Registry

pytestmark = pytest.mark.slow
HERE = "tests.jobs.ray_functions"


def started_cluster(attempts: int = 3):
    """Start two nodes; Ray gives a node 30 seconds to come up, which a busy machine sometimes needs for itself."""
    from ray.cluster_utils import Cluster

    for left in reversed(range(attempts)):
        made = Cluster()
        try:
            for head in ({"include_dashboard": False}, {}):
                made.add_node(num_cpus=1, object_store_memory=80 * 2**20, **head)
        except Exception:
            made.shutdown()
            if not left:
                raise
        else:
            return made
    raise AssertionError


@pytest.fixture(scope="module")
def cluster():
    """A cluster that reports to nobody and has no dashboard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = started_cluster()
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def run(cluster):
    with connected(cluster.address) as runner:
        yield runner


@pytest.fixture
def job(tmp_path: Path) -> Copy:
    for name in ("in", "beside/deep", "out"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "in" / "source.bin").write_bytes(b"\x00\x01" * 1000)
    (tmp_path / "beside" / "model.xml").write_text("xml")
    (tmp_path / "beside" / "deep" / "model.bin").write_text("bin")
    return Copy(
        source=str(tmp_path / "in" / "source.bin"),
        folder=str(tmp_path / "beside"),
        main=str(tmp_path / "beside" / "model.xml"),
        out=str(tmp_path / "out"),
        text=str(tmp_path / "pid"),
    )


def test_files_go_there_and_come_back(run: RayRunner, job: Copy):
    assert run.processors == 2
    lines: list[str] = []
    copied = run(f"{HERE}:copy", job, Copied, timeout_s=60, on_log=lines.append)
    assert not set(copied.paths) & {job.source, job.folder, job.main, job.out}
    assert not any(Path(path).exists() for path in copied.paths)
    assert (Path(job.out) / "deep" / "copy.bin").read_bytes() == Path(job.source).read_bytes()
    assert (Path(job.out) / "beside.txt").read_text() == "model.bin model.xml"
    assert lines == ["copying"]


def test_both_nodes_work_at_once(run: RayRunner, job: Copy, tmp_path: Path):
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    with ThreadPoolExecutor(2) as threads:
        both = [
            threads.submit(run, f"{HERE}:meet", replace(job, text=str(meeting)), Copied, timeout_s=60) for _ in "ab"
        ]
        assert len({one.result(timeout=90).pid for one in both}) == 2


def test_variants_are_built_there(cluster, run: RayRunner, tmp_path: Path):
    program = capture(tmp_path)
    asked = requests(program, Target(format="onnx"), Target(format="openvino"))
    there = export_all(asked, cache=tmp_path / "there", run=run, parallel=run.processors)
    assert [outcome.error for outcome in there] == [None, None]
    assert there[0].variant is not None
    assert there[0].folder is not None
    assert file_ref(there[0].folder, "model.onnx") == there[0].variant.files[0]
    assert there[0].variant.receipt.host
    assert there[1].variant is not None
    assert there[1].variant.receipt.source == there[0].variant.files[0].sha256


def test_the_command_line_reaches_the_cluster(cluster, run, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with Registry.open(tmp_path / "wherry-registry") as opened_registry:
        fill(opened_registry, tmp_path)
    where = f"--on ray --ray-address {cluster.address} --parallel 2 --timeout 120 --memory 4".split()
    assert cli.run(["export", "m@v1", "-t", "null-fp32", *where]) == 0
    assert cli.run(["prove", "m@v1", *where]) == 0
    assert "pass" in capsys.readouterr().out


def test_errors_are_those_of_the_function(run: RayRunner, job: Copy):
    with pytest.raises(SpecMismatchError, match=r"The spec is wrong\.") as caught:
        run(f"{HERE}:refuse", job, Copied, timeout_s=60)
    assert caught.value.next_step == "mend it"
    lines: list[str] = []
    with pytest.raises(ChildError, match=r"crashed with SIGSEGV\. Its last line was: about to fall"):
        run(f"{HERE}:crash", job, Copied, timeout_s=60, on_log=lines.append)
    assert "about to fall" in lines


def test_limits_hold_there_too(run: RayRunner, job: Copy):
    with pytest.raises(ChildError, match=r"did not end within 1\.5 seconds"):
        run(f"{HERE}:linger", job, Copied, timeout_s=1.5)
    with pytest.raises(ChildError, match="ran out of memory"):
        run(f"{HERE}:linger", job, Copied, timeout_s=60, memory_bytes=1000)


def gone(pid: int) -> bool:
    for _ in range(200):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_job_that_is_stopped_leaves_nothing_behind(run: RayRunner, job: Copy):
    stop, note = threading.Event(), Path(job.text)

    def when_started() -> None:
        while not (note.is_file() and note.read_text()):
            time.sleep(0.05)
        stop.set()

    threading.Thread(target=when_started, daemon=True).start()
    with pytest.raises(ChildError, match="was stopped"):
        run(f"{HERE}:linger", job, Copied, timeout_s=60, stop=stop)
    assert gone(int(note.read_text()))


def test_a_worker_that_dies_is_one_error(run: RayRunner, job: Copy):
    with pytest.raises(ChildError, match="The cluster lost the job") as caught:
        run(f"{HERE}:kill_the_worker", job, Copied, timeout_s=60)
    assert "ray status" in caught.value.next_step
    assert run(f"{HERE}:copy", job, Copied, timeout_s=60).pid


def test_another_wherry_on_a_machine_is_refused(cluster, run: RayRunner, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(adapter, "installed_version", lambda module, names=(): "99.0")
    wrong = pytest.raises(ToolchainMissingError, match=r"has wherry .*, and here it is 99\.0")
    with wrong, connected(cluster.address):
        pass


def test_no_cluster_at_the_address(monkeypatch: pytest.MonkeyPatch):
    import ray

    if ray.is_initialized():
        ray.shutdown()
    with (
        pytest.raises(BadInputError, match="There is no Ray cluster at"),
        opened(Jobs(on="ray", ray_address="127.0.0.1:1")),
    ):
        pass
