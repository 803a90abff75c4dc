"""Files and folders of any kind: a report for each, the exit code, one document, and never a crash."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoint import assemble as a
from tests.checkpoint import messages as m
from wherry.checkpoint.tree import scan_tree
from wherry.cli.main import run
from wherry.core.errors import NotFoundError

EVIL = a.torch_zip(a.proto() + a.name("posix", "system") + a.text("x") + a.TUPLE1 + a.REDUCE + a.STOP)
GOOD = a.torch_zip(a.state_dict(a.tensor()))
WHOLE = a.torch_zip(
    a.proto() + a.name("torch.nn.modules.linear", "Linear") + b")\x81" + b"}X\x01\x00\x00\x00w" + a.tensor() + b"sb."
)


def fill(folder: Path) -> None:
    """Write what lies beside an ordinary model."""
    folder.mkdir(exist_ok=True)
    (folder / "model.pt").write_bytes(GOOD)
    (folder / "README.md").write_text("# A model\n\nfrom far away\n", encoding="utf-8")
    (folder / "labels.txt").write_text("cat\ndog\nbird\n", encoding="utf-8")
    (folder / "config.json").write_text('{"classes": 3}', encoding="utf-8")
    (folder / "args.yaml").write_text("epochs: 3\n", encoding="utf-8")
    (folder / "loss.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (folder / "empty").write_bytes(b"")


def by_name(folder: Path) -> dict[str, tuple[str, str]]:
    return {Path(report.path).name: (report.verdict, report.format) for report in scan_tree(folder).files}


def test_an_ordinary_folder_is_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "x")
    found = by_name(tmp_path / "x")
    assert {verdict for verdict, _ in found.values()} == {"clean"}
    assert found["labels.txt"] == ("clean", "text")
    assert found["config.json"] == ("clean", "json")
    assert found["loss.png"] == ("clean", "picture")
    assert run(["scan", str(tmp_path / "x")]) == 0
    assert "7 files, 0 refused" in capsys.readouterr().out


def test_one_bad_file_refuses_the_folder_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "x")
    (tmp_path / "x" / "deep").mkdir()
    (tmp_path / "x" / "deep" / "evil.txt").write_bytes(EVIL)
    assert run(["scan", str(tmp_path / "x")]) == 3
    printed = capsys.readouterr()
    assert "posix.system" in printed.out
    assert "pickle-name" in printed.out
    assert "1 of 8 files" in printed.err


def test_the_document_holds_a_report_for_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "best.pt"
    for whole, code, needs in ((GOOD, 0, "tensors"), (WHOLE, 0, "modules"), (EVIL, 3, "tensors")):
        path.write_bytes(whole)
        assert run(["scan", str(path), "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        assert document["needs"] == needs
        (file,) = document["files"]
        assert file["size"] == len(whole)
        assert file["verdict"] == document["verdict"] == ("refused" if code else "clean")
        assert [finding["code"] for finding in file["findings"]] == (["pickle-name"] if code else [])


def test_numbers_beside_a_model_are_data_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(m.onnx(m.onnx_node("Relu"), tensors=(m.onnx_tensor("m.data"),)))
    (tmp_path / "m.data").write_bytes(bytes(1000))
    assert by_name(tmp_path)["m.data"] == ("clean", "data")

    for hidden in (EVIL, b"\x7fELF" + bytes(100), a.proto() + a.name("posix", "system") + a.STOP):
        (tmp_path / "m.data").write_bytes(hidden)
        assert by_name(tmp_path)["m.data"][0] == "refused"

    (tmp_path / "m.data").write_bytes(bytes(1000))
    (tmp_path / "m.onnx").write_bytes(m.onnx(m.onnx_node("Relu")))
    assert by_name(tmp_path)["m.data"] == ("refused", "unknown")


def test_a_library_beside_a_model_is_refused_and_a_script_is_a_warning(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "train.py").write_text("import torch\n", encoding="utf-8")
    (tmp_path / "hub.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}', encoding="utf-8")
    report = scan_tree(tmp_path)
    assert report.verdict == "clean"
    assert {finding.code for file in report.files for finding in file.findings} == {"script", "auto-map"}

    (tmp_path / "model.txt").write_bytes(b"\x7fELF" + bytes(100))
    assert [Path(file.path).name for file in scan_tree(tmp_path).refused] == ["model.txt"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and links")
def test_pipes_sockets_links_and_locked_files_are_told_and_not_followed(tmp_path: Path) -> None:
    fill(tmp_path / "x")
    os.mkfifo(tmp_path / "x" / "pipe")
    (tmp_path / "x" / "out").symlink_to("/etc/passwd")
    (tmp_path / "x" / "in").symlink_to("model.pt")
    (tmp_path / "x" / "circle").symlink_to("circle")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "x" / "s"))
        found = by_name(tmp_path / "x")
    assert {name for name, (verdict, _) in found.items() if verdict == "refused"} == {"pipe", "out", "s", "circle"}
    assert scan_tree(tmp_path / "x" / "pipe").refused[0].findings[0].code == "not-a-file"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    fill(tmp_path)
    monkeypatch.setattr(Path, "open", fails)
    report = scan_tree(tmp_path)
    assert {file.findings[0].code for file in report.files} == {"unreadable"}


def test_a_folder_of_any_depth_is_read_and_what_is_missing_is_said(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 200)
    deep.mkdir(parents=True)
    (deep / "evil").write_bytes(EVIL)
    assert len(scan_tree(tmp_path).refused) == 1
    with pytest.raises(NotFoundError, match="does not exist"):
        scan_tree(tmp_path / "nothing")
    (tmp_path / "none").mkdir()
    assert scan_tree(tmp_path / "none").verdict == "clean"


def test_a_folder_of_too_many_files_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.setattr("wherry.checkpoint.tree.MAX_FILES", 3)
    assert "expansion" in {finding.code for file in scan_tree(tmp_path).files for finding in file.findings}


def test_the_command_imports_no_framework(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(WHOLE)
    program = (
        f"import sys\nfrom wherry.cli.main import run\nrun(['scan', {str(path)!r}, '--quiet'])\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"torch", "numpy", "onnx", "safetensors", "sklearn", "joblib", "h5py"} == set()
