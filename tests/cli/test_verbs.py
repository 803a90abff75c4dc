"""The verbs of the road and of the device, in process, on variants of the null target."""

import json
import shlex
import shutil
import sys
import threading
import urllib.request

import numpy as np
import pytest

from tests.null_road import fill
from wherry.cli import main as cli
from wherry.registry import Registry


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Registry.open(tmp_path / "wherry-registry") as opened:
        fill(opened, tmp_path)
    return tmp_path


@pytest.fixture
def ask(capsys):
    """Return a function that runs a command with --json and returns its document."""

    def run(line, code=0):
        capsys.readouterr()
        assert cli.run([*shlex.split(line), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def shipped(home, ask):
    ask("export m@v1 -t null-fp32")
    ask("prove m@v1")
    ask("bench m@v1 --seconds 0.05")
    ask("keys init")
    return home / ask("bundle m@v1 --product EmberEye --why all --out out")["path"]


def test_the_road(home, ask, capsys):
    (built,) = ask("export m@v1 --target null-fp32 --product Ember")
    assert built["variant"]["engine"] == "null"
    assert (home / "wherry-registry/models/m/exports/v1/Ember.null").exists()
    assert cli.run(["export", "m@v1", "-t", "null-fp32"]) == 0
    assert "reused" in capsys.readouterr().out
    ask("export m@v1 --target null-fp32")
    assert (home / "wherry-registry/models/m/exports/v1/Ember.null").exists()  # the product is remembered
    (home / "wherry-registry/models/m/v1/metadata.json").write_text("damaged")
    ask("export m@v1 --target null-fp32")
    assert (home / "wherry-registry/models/m/exports/v1/Ember.null").exists()
    (report,) = ask("prove m@v1")
    assert report["verdict"] == "pass"
    assert cli.run(["prove", "m@v1"]) == 0
    assert "pass" in capsys.readouterr().out
    ask("bench m@v1 --seconds 0.05 --batch 3")
    assert (
        ask("choose m@v1 --max-p90 10s --max-p95 10s --max-size 12MB --max-memory 4GiB --max-drop 1")["target"]
        == "null-fp32"
    )
    assert len(ask("keys init")["keys"]) == 4
    assert cli.run(["bundle", "m@v1", "--product", "EmberEye", "--why", "all"]) == 0
    assert "release 1" in capsys.readouterr().out


def test_a_failed_proof_ends_with_3_and_one_document(home, ask, capsys):
    ask("export m@v2 -t null-fp32")
    (report,) = ask("prove m@v2", code=3)
    assert report["verdict"] == "output_mismatch"
    assert cli.run(["prove", "m@v2"]) == 3
    captured = capsys.readouterr()
    assert "output_mismatch" in captured.out
    assert "failed its proof" in captured.err
    assert ask("choose m@v2", code=3)["target"] is None


def test_an_export_that_fails(home, ask, monkeypatch):
    (failed,) = ask("export m@v1 -t onnx-fp32", code=3)
    assert failed["variant"] is None
    from wherry.core.errors import ToolchainMissingError
    from wherry.export.targets.onnx import OnnxExporter

    missing = ToolchainMissingError("onnx is not installed.", next_step="Run: pip install 'wherry[export-onnx]'")
    monkeypatch.setattr(OnnxExporter, "missing", classmethod(lambda cls, target: missing))
    (failed,) = ask("export m@v1 -t onnx-fp32", code=5)
    assert failed["missing"]


def test_an_option_that_no_target_knows_is_a_usage_error(home, capsys):
    assert cli.run(["export", "m@v1", "-t", "null-fp32", "--opset", "11"]) == 2
    assert "None of null-fp32 has an option 'opset'" in capsys.readouterr().err
    assert cli.run(["export", "m@v1", "-t", "onnx-fp32", "--option", "opset"]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err


def test_a_network_that_cannot_be_written_as_onnx_cannot_be_looked_at(home, capsys):
    assert cli.run(["lint", "m@v1"]) == 4
    assert "cannot be looked at" in capsys.readouterr().err


def test_export_all_takes_what_is_ready(home):
    from wherry.cli.exporting import _wanted

    ready = [target.name for target in _wanted(None, True, with_calibration=False)]
    assert "onnx-fp32" in ready
    assert "onnx-int8" not in ready
    assert "null-fp32" not in ready
    assert "onnx-int8" in [target.name for target in _wanted(None, True, with_calibration=True)]


def test_aliases(home, ask, capsys):
    assert ask("promote m@v1 production --why good --who ana")["who"] == "ana"
    assert cli.run(["promote", "m@v2", "production", "--why", "better"]) == 0
    assert "was v1" in capsys.readouterr().out
    assert ask("rollback m production --why worse")["version"] == 1
    ask("rollback m production --why again", code=3)
    assert ask("promote m@v1 production --why ''", code=4)["error"]["kind"] == "BadInputError"
    events = ask("log m --limit 2")
    assert [event["why"] for event in events] == ["worse", "better"]
    assert cli.run(["log"]) == 0
    assert "worse" in capsys.readouterr().out
    assert (home / "wherry-registry/models/m/production.pt").exists()


def test_the_device(shipped, home, ask, capsys):
    init = "device init --root box --product EmberEye --root-key wherry-trust/metadata/1.root.json --health 'true'"
    assert ask(f"{init} --restart true --probation-s 0")["product"] == "EmberEye"
    assert cli.run(["device", "install", str(shipped), "--root", "box"]) == 0
    assert "imported EmberEye.null" in capsys.readouterr().out
    assert ask(f"device install {shipped} --root box")["outcome"] == "already_installed"
    assert ask("device status --root box")["version"] == 1
    assert cli.run(["device", "status", "--root", "box"]) == 0
    assert ask("device verify --root box")["passed"]
    assert ask("device rollback --root box --why x", code=3)["error"]["message"]
    assert "installed" in [entry["kind"] for entry in ask("device history --root box")]
    blob = next((home / "box/releases/EmberEye").rglob("model.null"))
    blob.chmod(0o644)
    blob.write_bytes(b"damaged")
    assert not ask("device verify --root box", code=3)["passed"]


def test_a_sick_service_goes_back_and_says_so_in_one_document(shipped, home, ask, capsys):
    second = home / ask("bundle m@v1 --product EmberEye --why second --out out")["path"]
    ask("device init --root box --product EmberEye --root-key wherry-trust/metadata/1.root.json --probation-s 0")
    ask(f"device install {shipped} --root box")
    config = json.loads((home / "box/device.json").read_text())
    config["hooks"]["health"] = ["false"]
    (home / "box/device.json").write_text(json.dumps(config))
    assert ask(f"device install {second} --root box", code=7)["outcome"] == "rolled_back"
    assert ask("device status --root box")["number"] == 1
    assert ask(f"device install {second} --root box", code=3)["error"]["next_step"]


def test_a_device_that_is_none(home, ask):
    ask("device status --root nowhere", code=4)
    ask("device init --root box --product EmberEye --root-key gone.json", code=4)
    ask("keys list --trust nowhere", code=4)


def test_serving_from_a_device_and_from_the_registry(shipped, home, ask, capsys, monkeypatch):
    ask("device init --root box --product EmberEye --root-key wherry-trust/metadata/1.root.json --probation-s 0")
    ask(f"device install {shipped} --root box")
    from wherry.cli import serve as verb
    from wherry.serving.server import BackgroundServer

    for model in (
        verb.from_device(home / "box"),
        verb.from_registry(home / "wherry-registry", "m@v1", None, home / "one"),
        verb.from_registry(home / "wherry-registry", "m@v1", "null-fp32", home / "two"),
    ):
        with BackgroundServer([model]) as server, urllib.request.urlopen(f"{server.url}/v2/models/{model.name}") as got:
            assert json.loads(got.read())["versions"] == ["1"]
    from wherry import agent

    with agent.load(home / "box") as model:
        assert model.name == "EmberEye v1 null-fp32"
        assert model.predict(np.full(4, 3, np.float32)).tensors["y"][0] == 3.0
    ask("serve m@v2 --target null-fp32", code=4)
    ask("serve nowhere", code=4)


def test_the_serve_verb_until_it_is_stopped(shipped, home):
    import signal
    import subprocess

    words = [sys.executable, "-m", "wherry", "serve", "m@v1", "--target", "null-fp32", "--port", "0", "--json"]
    with subprocess.Popen(words, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        killer = threading.Timer(60, running.kill)
        killer.start()
        document = ""
        while not document.rstrip().endswith("}"):
            document += running.stdout.readline()
        url = json.loads(document)["url"]
        with urllib.request.urlopen(f"{url}/v2/health/ready") as answer:
            assert answer.status == 200
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0
        killer.cancel()


def test_listing(home, ask, capsys):
    assert [version["number"] for version in ask("list m")] == [2, 1]
    assert cli.run(["show", "m@v1"]) == 0
    assert "y float32" in capsys.readouterr().out
    shutil.rmtree(home / "wherry-registry")
    with Registry.open(home / "wherry-registry"):
        pass
    assert cli.run(["list"]) == 0
    assert "holds no versions" in capsys.readouterr().out
