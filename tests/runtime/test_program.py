"""A program file may hold tensors and a graph, and nothing that runs when it is opened."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from wherry.core.errors import EngineError, ScanRefusedError
from wherry.runtime.program import open_program

pytestmark = pytest.mark.slow


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "boom"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    path = tmp_path_factory.mktemp("program") / "p.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.rand(1, 2),)), path)
    return path


def rewritten(program: Path, target: Path, change: dict[str, bytes], add: dict[str, bytes] | None = None) -> Path:
    """Copy the archive with some records changed by the end of their names, and some added."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            data = next((data for end, data in change.items() if name.endswith(end)), old.read(name))
            new.writestr(name, data)
        root = old.namelist()[0].split("/")[0]
        for name, data in (add or {}).items():
            new.writestr(f"{root}/{name}", data)
    return target


def test_a_program_opens(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import torch

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    copy = rewritten(program, tmp_path / "p.pt2", {})
    assert open_program(copy).module()(torch.ones(1, 2)).shape == (1, 2)
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_pickle_in_the_sample_inputs_is_not_run(program: Path, tmp_path: Path):
    import torch

    harm, buffer = tmp_path / "harm", io.BytesIO()
    torch.save(((Bomb(harm),), {}), buffer)
    bad = rewritten(program, tmp_path / "bad.pt2", {"sample_inputs/model.pt": buffer.getvalue()})
    with pytest.raises(EngineError, match="cannot be opened"):
        open_program(bad)
    assert not harm.exists()


@pytest.mark.parametrize(
    "name",
    [
        "data/constants/opaque_obj_0",
        "data/constants/OPAQUE_OBJ_0",
        "data/constants/custom_obj_0",
        "data/constants/model.pt",
        "data/weights/model.pt",
        "data/aotinductor/model/model.so",
        "code/thing.py",
    ],
)
def test_records_that_are_no_tensors_are_refused(program: Path, tmp_path: Path, name: str):
    bad = rewritten(program, tmp_path / "bad.pt2", {}, {name: b"anything"})
    with pytest.raises(ScanRefusedError, match="neither a tensor nor a graph"):
        open_program(bad)


def test_what_is_no_program_is_an_error(program: Path, tmp_path: Path):
    garbage = tmp_path / "garbage.pt2"
    garbage.write_bytes(b"garbage")
    with pytest.raises(EngineError, match=r"no \.pt2 archive"):
        open_program(garbage)
    garbage.write_bytes(program.read_bytes()[:-100])
    with pytest.raises(EngineError, match=r"no \.pt2 archive"):
        open_program(garbage)
    broken = rewritten(program, tmp_path / "broken.pt2", {"models/model.json": b"{}"})
    with pytest.raises(EngineError, match="cannot be opened by torch"):
        open_program(broken)
