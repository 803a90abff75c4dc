"""Exporting many targets: order, cache, failures that cost the others nothing. Children are real; tools are light."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from wherry.core.codec import to_json
from wherry.core.errors import BadInputError, ChildError, NotFoundError, StorageError, ToolchainMissingError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.core.variant import Target
from wherry.export.cache import VARIANT_FILE, ExportCache
from wherry.export.child import WRITE_VARIANT, ExportJob, Made, file_ref, write_variant
from wherry.export.interface import Exporter, Source, Written
from wherry.export.listing import describe_targets
from wherry.export.request import ExportRequest
from wherry.export.run import export_all
from wherry.export.targets import TARGETS, exporter_class
from wherry.jobs.child import run_in_child

ROOT = Path(__file__).parents[2]
X = TensorSpec(name="x", dtype="float32", shape=("n", 4))
SPEC = ModelSpec(task="classification", inputs=(X,), outputs=(X,))
NULL, PT2 = Target(format="null"), Target(format="pt2")


@pytest.fixture
def request_(tmp_path: Path) -> ExportRequest:
    program = tmp_path / "program.pt2"
    program.write_bytes(b"stands for a program")
    return ExportRequest(
        model="m",
        version=1,
        version_digest="a" * 64,
        spec=SPEC,
        target=NULL,
        program=str(program),
        program_sha256=file_ref(tmp_path, "program.pt2").sha256,
    )


def here(function, spec, result, *, timeout_s, memory_bytes=None, on_log=None, stop=None):
    """A runner without a child process, for tests that are not about children."""
    assert function == WRITE_VARIANT
    on_log("made here")
    return write_variant(spec)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_targets_in_real_children_and_once_more_from_the_cache(request_: ExportRequest, tmp_path: Path):
    events: list[tuple[str, str]] = []
    asked = [request_, replace(request_, target=PT2), request_]
    found = export_all(asked, cache=tmp_path / "cache", run=run_in_child, on_event=lambda *event: events.append(event))
    assert [outcome.target for outcome in found] == [NULL, PT2, NULL]
    assert found[0] is found[2]
    assert sorted(events) == [
        ("null-fp32", "done"),
        ("null-fp32", "started"),
        ("pt2-fp32", "done"),
        ("pt2-fp32", "started"),
    ]
    for outcome in found:
        assert outcome.variant is not None
        assert outcome.folder is not None
        assert not outcome.reused
        main = outcome.variant.files[0].path
        assert names(outcome.folder) == sorted(["export.log", VARIANT_FILE, main])
        assert (outcome.folder / VARIANT_FILE).read_bytes() == to_json(outcome.variant)
    assert found[1].folder is not None
    assert (found[1].folder / "model.pt2").read_bytes() == b"stands for a program"
    again = export_all(asked, cache=tmp_path / "cache", run=here)
    assert [outcome.reused for outcome in again] == [True] * 3
    assert [outcome.variant for outcome in again] == [outcome.variant for outcome in found]


@pytest.mark.parametrize(
    "change",
    [
        {"version_digest": "b" * 64},
        {"spec": replace(SPEC, class_names=("a", "b", "c", "d"))},
        {"version": 2},
        {"model": "other"},
    ],
    ids=["version_digest", "spec", "version", "model"],
)
def test_a_changed_request_is_built_anew(request_: ExportRequest, tmp_path: Path, change):
    first, second = (
        export_all([asked], cache=tmp_path / "cache", run=here)[0] for asked in (request_, replace(request_, **change))
    )
    assert not second.reused
    assert first.folder != second.folder


def test_a_new_tool_builds_anew(request_: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export_all([request_], cache=tmp_path / "cache", run=here)
    monkeypatch.setattr("wherry.export.build.installed_version", lambda module: "99.0")
    outcome = export_all([request_], cache=tmp_path / "cache", run=here)[0]
    assert not outcome.reused
    assert outcome.variant is not None
    assert outcome.variant.receipt.tools["wherry"] == "99.0"


@pytest.mark.parametrize("damage", ["flip", "remove", "document"])
def test_a_damaged_entry_is_built_again(request_: ExportRequest, tmp_path: Path, damage: str):
    folder = export_all([request_], cache=tmp_path / "cache", run=here)[0].folder
    assert folder is not None
    if damage == "flip":
        (folder / "model.null").write_bytes(b"X" + (folder / "model.null").read_bytes()[1:])
    elif damage == "remove":
        (folder / "model.null").unlink()
    else:
        (folder / VARIANT_FILE).write_bytes(b"{}")
    outcome = export_all([request_], cache=tmp_path / "cache", run=here)[0]
    assert not outcome.reused
    assert outcome.variant is not None
    assert outcome.folder == folder
    assert file_ref(folder, "model.null") == outcome.variant.files[0]


def test_failures_cost_the_others_nothing_and_are_not_cached(request_: ExportRequest, tmp_path: Path):
    def run(function, spec: ExportJob, result, **rest):
        if spec.request.target == PT2:
            rest["timeout_s"] = 60
            return run_in_child("tests.export.failing:crash", spec, result, **rest)
        return run_in_child(function, spec, result, **rest)

    events: list[tuple[str, str]] = []
    asked = [replace(request_, target=PT2), request_]
    bad, good = export_all(asked, cache=tmp_path / "cache", run=run, on_event=lambda *event: events.append(event))
    assert good.variant is not None
    assert bad.variant is None
    assert "crashed with SIGSEGV. Its last line was: half way there" in (bad.error or "")
    assert ("pt2-fp32", "failed") in events
    log = Path((bad.next_step or "").split("is in ")[1].rstrip("."))
    assert "half way there" in log.read_text()
    assert not [name for name in names(tmp_path / "cache") if name.startswith(".building")]
    mended = export_all(asked, cache=tmp_path / "cache", run=here)
    assert [outcome.reused for outcome in mended] == [False, True]
    assert mended[0].variant is not None


def test_a_child_that_takes_too_long_or_too_much_is_an_outcome(request_: ExportRequest, tmp_path: Path):
    asked = [replace(request_, timeout_s=0.01), replace(request_, target=PT2, memory_bytes=1000)]
    slow, large = export_all(asked, cache=tmp_path / "cache", run=run_in_child)
    assert "did not end within 0.01 seconds" in (slow.error or "")
    assert "ran out of memory" in (large.error or "")


def test_a_program_that_is_not_the_registered_one_is_refused(request_: ExportRequest, tmp_path: Path):
    changed = replace(request_, program_sha256="0" * 64)
    gone = replace(request_, program=str(tmp_path / "absent"))
    first, second = export_all([changed, gone], cache=tmp_path / "cache", run=here)
    assert "is not the one that was registered" in (first.error or "")
    assert "cannot be read" in (second.error or "")


def test_unknown_formats_stop_everything_before_it_starts(request_: ExportRequest, tmp_path: Path):
    with pytest.raises(NotFoundError, match="no target format 'papyrus'") as caught:
        export_all([request_, replace(request_, target=Target(format="papyrus"))], cache=tmp_path / "cache", run=here)
    assert "onnx" in caught.value.next_step
    assert not (tmp_path / "cache").exists()


def test_what_is_unsupported_is_an_outcome_without_a_child(request_: ExportRequest, tmp_path: Path):
    asked = [replace(request_, target=Target(format="null", precision="int8")), request_]
    bad, good = export_all(asked, cache=tmp_path / "cache", run=here)
    assert bad.error == "The format null has no precision int8."
    assert bad.next_step == "Use one of fp32."
    assert good.variant is not None


def test_a_missing_tool_names_the_command(request_: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tflite = Target(format="tflite")
    exporter = exporter_class("tflite")
    monkeypatch.setattr(exporter, "_tools", classmethod(lambda cls, target: {"torch": (), "not_there": ("x",)}))
    outcome = export_all([replace(request_, target=tflite)], cache=tmp_path / "cache", run=here)[0]
    assert outcome.error == "The tools for tflite-fp32 are not installed: not_there."
    assert outcome.next_step == "Run: pip install 'wherry[export-tflite]'"
    row = next(row for row in describe_targets() if row.format == "tflite")
    assert (row.installed, row.reason) == (False, outcome.error)
    source = Source(model="m", version=1, spec=SPEC, program=tmp_path)
    with pytest.raises(ToolchainMissingError):
        exporter().export(source, tflite, tmp_path)


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a format that starts from another one's variant."""
    monkeypatch.setitem(TARGETS, "echo", "tests.export.failing:EchoExporter")


def test_a_target_that_starts_from_another_waits_for_it(request_: ExportRequest, tmp_path: Path, family: None):
    events: list[tuple[str, str]] = []
    echo = replace(request_, target=Target(format="echo"))
    asked = [echo, replace(request_, target=PT2)]
    child, parent = export_all(asked, cache=tmp_path / "cache", run=here, on_event=lambda *event: events.append(event))
    assert child.variant is not None
    assert parent.variant is not None
    assert child.variant.receipt.source == parent.variant.files[0].sha256
    assert events == [
        ("pt2-fp32", "started"),
        ("pt2-fp32", "done"),
        ("echo-fp32", "started"),
        ("echo-fp32", "done"),
    ]
    (tmp_path / "other").mkdir()
    alone = export_all([echo], cache=tmp_path / "other", run=here)
    assert len(alone) == 1
    assert alone[0].variant is not None
    assert alone[0].variant.digest == child.variant.digest


def test_a_target_whose_parent_failed_says_so(request_: ExportRequest, tmp_path: Path, family: None):
    echo = replace(request_, target=Target(format="echo"), program_sha256="0" * 64)
    outcome = export_all([echo], cache=tmp_path / "cache", run=here)[0]
    assert (outcome.error or "").startswith("echo-fp32 starts from pt2-fp32, which failed: The program at")


def test_a_parent_is_needed_and_a_main_file_is_needed(tmp_path: Path):
    source = Source(model="m", version=1, spec=SPEC, program=tmp_path)
    with pytest.raises(BadInputError, match="openvino-fp32 starts from onnx-fp32, which was not given"):
        exporter_class("openvino")().export(source, Target(format="openvino"), tmp_path)
    int8 = Target(format="onnx", precision="int8")
    with pytest.raises(BadInputError, match="needs a calibration set"):
        exporter_class("onnx")().export(replace(source, parent=tmp_path), int8, tmp_path)
    with pytest.raises(BadInputError, match="no precision"):
        exporter_class("null")().export(source, int8, tmp_path)


class LazyExporter(Exporter):
    """Says that it wrote a file."""

    format = "lazy"
    precisions = ("fp32",)
    engine = "null"
    suffix = ".lazy"

    def _write(self, source: Source, target: Target, out: Path) -> Written:
        if source.version == 2:
            raise ValueError("first line\nsecond line")
        if source.version == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return Written(main="model.lazy", batch=None)


def test_tools_that_fail_or_leave_nothing_are_one_clear_error(tmp_path: Path):
    source = Source(model="m", version=1, spec=SPEC, program=tmp_path)
    with pytest.raises(BadInputError, match=r"the tools left no model\.lazy"):
        LazyExporter().export(source, Target(format="lazy"), tmp_path)
    with pytest.raises(BadInputError) as caught:
        LazyExporter().export(replace(source, version=2), Target(format="lazy"), tmp_path)
    assert caught.value.message == "lazy-fp32 could not be made: ValueError: first line"
    with pytest.raises(StorageError, match="the disk is full"):
        LazyExporter().export(replace(source, version=3), Target(format="lazy"), tmp_path)


def test_a_cache_that_cannot_be_used_is_a_storage_error(request_: ExportRequest, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="export cache"):
        export_all([request_], cache=tmp_path / "file", run=here)


def test_half_finished_entries_of_long_ago_go(tmp_path: Path):
    old, young = tmp_path / ".building-old", tmp_path / ".building-young"
    old.mkdir()
    young.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    ExportCache(tmp_path)
    assert names(tmp_path) == [".building-young", "logs"]


def test_another_process_may_be_faster(request_: ExportRequest, tmp_path: Path):
    cache = ExportCache(tmp_path / "cache")
    outcome = export_all([request_], cache=tmp_path / "cache", run=here)[0]
    assert outcome.variant is not None
    assert outcome.folder is not None
    key = outcome.folder.name
    with cache.building(key) as folder:
        (folder / "model.null").write_bytes(b"slower")
        kept = cache.keep(key, folder, replace(outcome.variant, engine="slower"), [])
    assert kept == outcome.variant


def test_an_unexpected_error_ends_the_children(request_: ExportRequest, tmp_path: Path):
    stopped = threading.Event()

    def run(function, spec: ExportJob, result: type[Made], *, stop, **rest):
        if spec.request.target == NULL:
            raise RuntimeError("a bug")
        assert stop.wait(20)
        stopped.set()
        raise ChildError("stopped")

    with pytest.raises(RuntimeError, match="a bug"):
        export_all([replace(request_, target=PT2), request_], cache=tmp_path / "cache", run=run)
    assert stopped.is_set()


def test_an_interrupt_leaves_no_process_and_no_half_entry(request_: ExportRequest, tmp_path: Path):
    note = tmp_path / "pid"
    (tmp_path / "request.json").write_bytes(to_json(replace(request_, model=str(note))))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    command = [sys.executable, "-m", "tests.export.failing", str(tmp_path / "request.json"), str(tmp_path / "cache")]
    parent = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (note.is_file() and note.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.send_signal(signal.SIGINT)
    _, said = parent.communicate(timeout=30)
    assert "KeyboardInterrupt" in said
    assert not psutil.pid_exists(int(note.read_text()))
    assert names(tmp_path / "cache") == ["logs"]
