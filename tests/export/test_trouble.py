"""One target in trouble loses nothing else, and the next export builds only what was lost. Children are real."""

from dataclasses import replace
from pathlib import Path

import pytest

from wherry.core.model import ModelSpec, TensorSpec
from wherry.core.variant import Target
from wherry.export.child import ExportJob, file_ref
from wherry.export.request import ExportOutcome, ExportRequest
from wherry.export.run import export_all
from wherry.export.targets import TARGETS
from wherry.jobs.child import run_in_child

X = TensorSpec(name="x", dtype="float32", shape=("n", 4))
SPEC = ModelSpec(task="classification", inputs=(X,), outputs=(X,))
NULL, PT2 = Target(format="null"), Target(format="pt2")
LIMITS = {"memory": {"memory_bytes": 1000}, "time": {"timeout_s": 0.01}}


@pytest.fixture
def asked(tmp_path: Path) -> list[ExportRequest]:
    """Two targets; the first one is the one in trouble."""
    program = tmp_path / "program.pt2"
    program.write_bytes(b"stands for a program" * 1000)
    first = ExportRequest(
        model="m",
        version=1,
        version_digest="a" * 64,
        spec=SPEC,
        target=PT2,
        program=str(program),
        program_sha256=file_ref(tmp_path, "program.pt2").sha256,
    )
    return [first, replace(first, target=NULL)]


def export(asked: list[ExportRequest], folder: Path, trouble: str | None = None) -> list[ExportOutcome]:
    """Export side by side; the trouble is a function, or a limit, of the first target."""

    def run(function, spec: ExportJob, result, **rest):
        if trouble is not None and spec.request.target == PT2:
            rest |= {"timeout_s": 60, **LIMITS.get(trouble, {})}
            function = function if trouble in LIMITS else f"tests.export.failing:{trouble}"
        return run_in_child(function, spec, result, **rest)

    return export_all(asked, cache=folder / "cache", run=run)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("killed_in_the_middle", "crashed with SIGKILL; the system may have run out of memory"),
        ("crash", "crashed with SIGSEGV"),
        ("no_room", "the disk is full"),
        ("memory", "ran out of memory"),
        ("time", "did not end within 0.01 seconds"),
    ],
)
def test_only_what_was_lost_is_built_again(asked: list[ExportRequest], tmp_path: Path, trouble: str, words: str):
    bad, good = export(asked, tmp_path, trouble)
    assert good.variant is not None
    assert bad.variant is None
    assert words in (bad.error or "")
    assert not list((tmp_path / "cache").glob(".building*"))
    again = export(asked, tmp_path)
    assert [outcome.reused for outcome in again] == [False, True]
    assert again[0].folder is not None
    assert (again[0].folder / "model.pt2").read_bytes() == Path(asked[0].program).read_bytes()
    assert [outcome.reused for outcome in export(asked, tmp_path)] == [True, True]


def test_what_starts_from_the_lost_one_is_built_later_too(
    asked: list[ExportRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(TARGETS, "echo", "tests.export.failing:EchoExporter")
    three = [*asked, replace(asked[0], target=Target(format="echo"))]

    def run(function, spec: ExportJob, result, **rest):
        if spec.request.target == PT2:
            function = "tests.export.failing:killed_in_the_middle"
        return run_in_child(function, spec, result, **rest)

    lost, kept, child = export_all(three, cache=tmp_path / "cache", run=run)
    assert (lost.variant, child.variant) == (None, None)
    assert kept.variant is not None
    assert "echo-fp32 starts from pt2-fp32, which failed" in (child.error or "")
