import json
import os
import subprocess
import sys

import pytest

from wherry.cli import main as cli
from wherry.core import errors

HEAVY = {"numpy", "torch", "onnx", "onnxruntime", "openvino", "litert_torch", "ai_edge_litert", "sqlalchemy", "alembic"}
HEAVY |= {"obstore", "tuf", "securesystemslib", "starlette", "uvicorn", "sklearn", "psutil", "PIL", "rich"}


def loaded_after(code):
    script = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


def test_help_loads_nothing_heavy():
    loaded = loaded_after("sys.argv = ['wherry', '--help']; from wherry.cli.main import main; main()")
    assert "wherry" in loaded
    assert not loaded & HEAVY


def test_importing_wherry_loads_nothing_heavy():
    assert not loaded_after("import wherry; wherry.Target") & HEAVY


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["device", "--help"], ["export", "--help"], ["--version"]])
def test_help_and_version(words, capsys):
    assert cli.run(words) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("words", [["dance"], ["export"], ["list", "--limit"], ["bench", "a@v1", "--seconds", "0"]])
def test_usage_errors(words, capsys):
    assert cli.run(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("wherry: ")
    assert "--help" in captured.err


def fail_with(error, monkeypatch):
    def broken(**_):
        raise error

    monkeypatch.setattr("wherry.export.listing.describe_targets", broken)


@pytest.mark.parametrize(
    "kind", [errors.BadInputError, errors.TrustError, errors.DeviceError, errors.ToolchainMissingError]
)
def test_errors_become_exit_codes_and_documents(kind, monkeypatch, capsys):
    fail_with(kind("It broke.", next_step="Mend it."), monkeypatch)
    assert cli.run(["targets"]) == kind.exit_code
    assert capsys.readouterr().err == "wherry: It broke.\n        Mend it.\n"
    assert cli.run(["targets", "--json"]) == kind.exit_code
    assert json.loads(capsys.readouterr().out)["error"] == {
        "kind": kind.__name__,
        "message": "It broke.",
        "next_step": "Mend it.",
        "exit_code": kind.exit_code,
    }


def test_a_bug_is_one_sentence(monkeypatch, capsys):
    fail_with(RuntimeError("oops\nmore"), monkeypatch)
    assert cli.run(["targets"]) == 1
    captured = capsys.readouterr().err
    assert "RuntimeError: oops" in captured
    assert "Traceback" not in captured
    monkeypatch.setenv("WHERRY_DEBUG", "1")
    assert cli.run(["targets"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c(monkeypatch, capsys):
    fail_with(KeyboardInterrupt(), monkeypatch)
    assert cli.run(["targets"]) == 130
    assert "carry on" in capsys.readouterr().err


def test_a_reader_that_goes_away():
    command = f"{sys.executable} -m wherry targets --json | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


def test_no_color_and_quiet(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.run(["targets"]) == 0
    assert "onnx-int8" in capsys.readouterr().out
    assert cli.run(["targets", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_module_entry_point():
    done = subprocess.run([sys.executable, "-m", "wherry", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("wherry ")


def test_main_exits(monkeypatch):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    monkeypatch.setattr(sys, "argv", ["wherry", "nothing"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2


def test_the_registry_comes_from_the_environment(tmp_path):
    environment = os.environ | {"WHERRY_REGISTRY": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, "-m", "wherry", "list"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 4
    assert "none" in done.stderr


@pytest.mark.parametrize(
    ("library", "words", "extra"),
    [
        ("sqlalchemy", ["list"], "registry"),
        ("uvicorn", ["serve", "nowhere"], "serve"),
        ("tuf", ["keys", "init", "--trust", "keys"], "device"),
        ("tritonclient", ["demo"], "demo"),
        ("sklearn", ["demo"], "demo"),
    ],
)
def test_a_missing_extra_names_the_command_that_brings_it(library, words, extra, tmp_path):
    """The import system says that the library is not there, as it would on a machine without the extra."""
    code = f"import sys; sys.modules[{library!r}] = None; from wherry.cli.main import run; sys.exit(run({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stderr
    assert f"The library {library} is not installed" in done.stderr
    assert done.stderr.rstrip().endswith(f"Run: pip install 'wherry[{extra}]'")


def test_a_module_that_no_extra_brings_is_a_bug(monkeypatch, capsys):
    fail_with(ModuleNotFoundError("no such thing", name="nothing.at.all"), monkeypatch)
    assert cli.run(["targets"]) == 1
    assert "ModuleNotFoundError" in capsys.readouterr().err


def test_what_looks_like_markup_is_text(capsys, monkeypatch):
    from wherry.runtime.engines import engine_class

    monkeypatch.setattr(engine_class("openvino"), "module", "a_runtime_that_is_not_there")
    assert cli.run(["doctor"]) == 0
    assert "pip install 'wherry[openvino]'" in " ".join(capsys.readouterr().out.split())
