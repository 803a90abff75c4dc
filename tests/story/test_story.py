"""The road end to end, as a user walks it: the real `wherry demo`, then the verbs and the README on what it made."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = ["train", "register", "export", "prove", "bench", "pack", "install", "serve", "trouble"]
TARGETS = {"pt2-fp32", "onnx-fp32", "onnx-int8", "tflite-fp32", "openvino-fp32"}
README = Path(__file__).parents[2] / "README.md"


def wherry(*words, cwd, timeout=600, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "wherry", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"COLUMNS": "140"} | environment,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("story")


@pytest.fixture(scope="module")
def document(home):
    done = wherry("demo", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def demo(home, document):
    return home / "wherry-demo"


def test_every_step_is_there_with_its_time(document):
    assert set(document) == {*STEPS, "folder", "reused"}
    assert all(document[step]["seconds"] > 0 for step in STEPS)


def test_training_counts_by_content(document):
    first, second = document["train"]["v1"]["lineage"], document["train"]["v2"]["lineage"]
    assert (first["training_images"], first["new_images"]) == (1000, 1000)
    assert (second["training_images"], second["new_images"], second["removed_images"]) == (1100, 100, 0)
    assert second["training_strategy"] == "full_retrain"
    assert second["total_epochs"] * 2 == first["total_epochs"]
    assert second["previous_version"] == "digits@v1"
    assert document["train"]["held_out_images"] == 697
    assert document["train"]["v2"]["metrics"]["accuracy"] > 0.96


def test_versions_and_the_event(document):
    first, second = document["register"]["versions"]
    assert (first["number"], second["number"]) == (1, 2)
    assert (first["semantic_version"], second["semantic_version"]) == ("1.0.0", "1.1.0")
    event = document["register"]["event"]
    assert (event["alias"], event["version"], event["who"]) == ("current_best", 2, "demo")
    assert event["why"]
    assert event["at"]


def test_every_target_was_built_and_proven(document):
    built = {row["target"] for row in document["export"]["v2"] if row["built"]}
    assert built == TARGETS
    reports = {report["target"]: report for report in document["prove"]["v2"]}
    assert set(reports) == TARGETS
    for report in reports.values():
        assert report["verdict"] == "pass", report["reasons"]
        assert report["outputs"][0]["cosine"] > 0.97
        assert report["metrics"]["accuracy_samples"] == 697
        assert abs(report["metrics"]["accuracy"] - report["metrics"]["reference_accuracy"]) <= 0.01
    assert reports["onnx-int8"]["outputs"][0]["max_abs"] > reports["onnx-fp32"]["outputs"][0]["max_abs"]
    receipt = next(row for row in document["export"]["v2"] if row["target"] == "onnx-int8")["variant"]["receipt"]
    assert receipt["calibration"]["samples"] >= 50


def test_the_choice_names_a_measured_variant_and_why_not_the_others(document):
    choice = document["bench"]["choice"]
    measured = {row["target"]: row for row in document["bench"]["measurements"]}
    assert set(measured) == TARGETS
    fastest = min(measured.values(), key=lambda row: row["p50_ms"])
    chosen = measured[choice["target"]]
    assert chosen["p50_ms"] <= fastest["p50_ms"] * (1 + max(0.02, chosen["noise"], fastest["noise"]))
    assert all(row["peak_memory_mb"] > row["memory_mb"] > 0 for row in measured.values())
    assert {row["target"] for row in choice["why_nots"]} == TARGETS - {choice["target"]}


def test_the_bundle_stores_weights_once(document):
    note = document["pack"]["v2"]
    assert re.fullmatch(r"EmberEye_v2_auto_all\.zip", Path(note["path"]).name)
    assert {p["name"] for p in note["profiles"]} == {
        "production_cpu",
        "production_gpu_nvidia",
        "production_gpu_apple",
    }
    assert note["bytes_of_weights_shipped"] <= note["bytes_of_variants"]
    with zipfile.ZipFile(note["path"]) as bundle:
        names = bundle.namelist()
        blobs = [name for name in names if name.startswith("blobs/")]
        assert len(blobs) == len(set(blobs))
        assert {"manifest.json", "deployment_manifest.json", "README.txt"} <= set(names)
        assert any(name.startswith("tuf/metadata/") for name in names)
        profiles = json.loads(bundle.read("deployment_manifest.json"))["deployment_profiles"]
    assert set(profiles[0]) == {"name", "device_type", "model_file", "supported_os", "optimization"}
    assert note["size"] <= 1.1 * (note["bytes_of_weights_shipped"] + 200_000)


def test_installed_twice_with_a_proof_on_the_device(document, demo):
    first, second = document["install"]["reports"]
    assert (first["version"], second["version"]) == (1, 2)
    assert second["previous"] is not None
    assert first["report"]["where"] == second["report"]["where"] == "device"
    assert second["report"]["verdict"] == "pass"
    assert "EmberEye_config.json" in document["install"]["published"]
    assert any(name.startswith("EmberEye_backup_") for name in document["install"]["backups"])


def test_accuracy_over_http_is_accuracy_in_process(document):
    served = document["serve"]
    assert served["images"] == 697
    assert served["accuracy_over_http"] == served["accuracy_in_process"] > 0.96
    assert served["largest_difference"] < 1e-4


def test_trouble_leaves_the_device_as_it_was(document):
    trouble = document["trouble"]
    flipped, corrupted, unhealthy, back = (
        trouble[name] for name in ("flipped_byte", "corrupted_weights", "unhealthy_service", "rollback")
    )
    assert (flipped["exit_code"], flipped["unchanged"]) == (6, True)
    assert (corrupted["exit_code"], corrupted["unchanged"]) == (3, True)
    assert (unhealthy["exit_code"], unhealthy["unchanged"]) == (7, True)
    assert trouble["proof"][0]["verdict"] == "pass"
    assert "proof" in corrupted["outcome"]
    assert flipped["live_before"] == unhealthy["live_after"] == "v2 (release 2)"
    assert back["exit_code"] == 0
    assert back["live_after"] == "v1 (release 5)"
    assert back["event"]["version"] == 1


def test_the_site_was_stopped(document, demo):
    assert not (demo / "site.pid").exists()


def test_a_second_run_says_what_it_reused(home, document):
    done = wherry("demo", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    reused = " ".join(again["reused"])
    for word in ("training", "registered before", "onnx-int8", "keys", "EmberEye_v2_auto_all.zip"):
        assert word in reused
    assert again["trouble"]["rollback"]["live_after"] == "v1 (release 5)"
    assert again["export"]["seconds"] < document["export"]["seconds"]


def test_ctrl_c_loses_nothing(tmp_path):
    from rich.console import Console

    from wherry.cli.demo.training import train_both
    from wherry.cli.demo.world import make_world

    words = [sys.executable, "-m", "wherry", "demo", "--json"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        last = tmp_path / "wherry-demo/training/v1/run.json"
        deadline = time.monotonic() + 120
        while not last.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in errors
    assert "run the same command again" in errors
    world = make_world(tmp_path / "wherry-demo", "EmberEye", Console(quiet=True))
    assert [one.number for one in train_both(world)] == [1, 2]
    assert "training of v1, carried on where it was interrupted" in world.reused


def _snippets(kind):
    found = re.findall(rf"<!-- tested: {kind} -->\n```\w+\n(.*?)```", README.read_text(), re.DOTALL)
    assert found
    return found


def test_the_readme_python_example_runs(home, document):
    for code in _snippets("python"):
        assert len([line for line in code.splitlines() if line.strip()]) == 5
        done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "('onnx-fp32', 'pass')" in done.stdout


def test_the_readme_shell_example_runs(home, document, tmp_path):
    launcher = tmp_path / "wherry"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m wherry "$@"\n')
    launcher.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for code in _snippets("shell"):
        assert len(code.strip().splitlines()) == 5
        done = subprocess.run(
            ["sh", "-e", "-c", code], cwd=home, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "digits@v2" in done.stdout


VERBS = [
    ("list",),
    ("list", "digits"),
    ("show", "digits@v2"),
    ("show", "digits@current_best"),
    ("log", "digits"),
    ("choose", "digits@v2"),
    ("targets",),
    ("doctor",),
    ("device", "detect"),
    ("device", "status", "--root", "wherry-demo/device"),
    ("device", "verify", "--root", "wherry-demo/device"),
    ("device", "history", "--root", "wherry-demo/device"),
    ("keys", "list", "--trust", "wherry-demo/trust"),
    ("export", "digits@v2", "--target", "onnx-fp32"),
    ("prove", "digits@v2", "--target", "onnx-fp32"),
    ("bench", "digits@v2", "--target", "onnx-fp32", "--seconds", "0.1"),
    ("compare", "digits@v1", "digits@v2", "--seconds", "0.1"),
    ("scan", "wherry-demo/registry/models/digits/v2/weights/EmberEye.pt"),
]


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_verb_in_three_voices(home, document, words):
    environment = {"WHERRY_REGISTRY": "wherry-demo/registry"}
    spoken = wherry(*words, cwd=home, **environment)
    assert spoken.returncode == 0, spoken.stderr
    assert spoken.stdout.strip()
    assert "\x1b[" not in spoken.stdout
    structured = wherry(*words, "--json", cwd=home, **environment)
    assert structured.returncode == 0
    json.loads(structured.stdout)
    silent = wherry(*words, "--quiet", cwd=home, **environment)
    assert (silent.returncode, silent.stdout) == (0, "")


BAD = [
    (("show", "digits@v99"), 4, "v99"),
    (("show", "nothing@v1"), 4, "nothing"),
    (("show", "digits@staging"), 4, "staging"),
    (("show", "digits"), 2, "NAME@v2"),
    (("export", "digits@v2", "--target", "hologram"), 4, "hologram"),
    (("export", "digits@v2", "--target", "onnx-fp7"), 2, "fp7"),
    (("export", "digits@v2"), 2, "--target"),
    (("prove", "digits@v2", "--target", "onnx-fp16"), 4, "onnx-fp16"),
    (("choose", "digits@v2", "--max-size", "1B"), 3, "constraints"),
    (("promote", "digits@v2", "v7", "--why", "x"), 4, "v7"),
    (("keys", "init", "--trust", "wherry-demo/trust"), 3, ""),
    (("device", "install", "gone.zip", "--root", "wherry-demo/device"), 4, "gone.zip"),
    (("device", "install", str(README), "--root", "wherry-demo/device"), 6, ""),
    (("scan", str(README)), 3, ""),
    (("list", "--registry", str(README)), 4, ""),
    (("list", "--registry", "nowhere"), 4, "nowhere"),
    (("dance",), 2, "dance"),
]


@pytest.mark.parametrize(
    ("words", "code", "word"), BAD, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_bad_input_gets_a_sentence_and_its_exit_code(home, document, words, code, word):
    environment = {"WHERRY_REGISTRY": "wherry-demo/registry"}
    done = wherry(*words, cwd=home, **environment)
    assert done.returncode == code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert any(line.startswith("wherry: ") for line in lines)
    assert word in done.stderr
    assert lines[-1].startswith("        ")
    structured = wherry(*words, "--json", cwd=home, **environment)
    assert structured.returncode == code
    if structured.stdout.strip():
        answer = json.loads(structured.stdout)
        assert "error" not in answer or answer["error"]["exit_code"] == code
