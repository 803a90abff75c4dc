"""The choice on the device, as a pure function."""

from dataclasses import replace

import pytest

from wherry.agent.choose import choose
from wherry.core.device import Accelerator, DeviceProfile
from wherry.core.digest import FileRef
from wherry.core.manifest import DeploymentProfile, Manifest, ManifestEntry
from wherry.core.model import Lineage, ModelSpec, TensorSpec
from wherry.core.report import Report, Tolerance, Verdict
from wherry.core.variant import Receipt, Target, Variant

TENSOR = TensorSpec(name="x", dtype="float32", shape=("batch", 4))
CPU = DeviceProfile(
    os="linux",
    arch="x86_64",
    cpu="a",
    cores=2,
    memory_bytes=1,
    runtimes={"onnxruntime": "1", "torch": "2", "null": "-"},
)
NVIDIA = replace(CPU, accelerators=(Accelerator(device_type="gpu", name="T4"),), versions={"cuda": "12.2"})
APPLE = replace(CPU, os="macos", accelerators=(Accelerator(device_type="mps", name="M2"),), versions={"macos": "14.1"})


def entry(target: str, engine: str) -> ManifestEntry:
    variant = Variant(
        model="m",
        version=1,
        version_digest="0" * 64,
        target=Target.parse(target),
        engine=engine,
        files=(FileRef.of(f"model.{target.split('-', maxsplit=1)[0]}", b"x"),),
        batch=None,
        receipt=Receipt(created_at="", source="", tools={}, requested={}, effective={}),
    )
    report = Report(
        variant=variant.digest,
        target=target,
        golden="",
        where="build",
        verdict=Verdict.PASS,
        reasons=(),
        samples=1,
        outputs=(),
        metrics={},
        tolerance=Tolerance(min_cosine=1, max_abs=None, min_agreement=1, max_metric_drop=0),
        engine=None,
        not_covered=(),
        seconds=0,
        at="",
    )
    return ManifestEntry(variant=variant, report=report)


def profile(kind: str, target: str, *systems: str, **requires: str) -> DeploymentProfile:
    suffix = "" if kind == "cpu" else f"_{kind}"
    return DeploymentProfile(
        name=f"production_{kind}",
        device_type=kind,
        model_file=f"EmberEye{suffix}.bin",
        supported_os=systems or ("windows", "macos", "linux"),
        optimization="balanced" if kind == "cpu" else "speed",
        target=target,
        requires=requires,
    )


MANIFEST = Manifest(
    product="EmberEye",
    model="m",
    version=1,
    version_digest="0" * 64,
    semantic_version="1.0.0",
    release=1,
    created_at="",
    spec=ModelSpec(task="null", inputs=(TENSOR,), outputs=(TENSOR,)),
    lineage=Lineage(timestamp="", training_images=1, new_images=1),
    metrics={},
    golden=FileRef.of("golden.npz", b"g"),
    entries=(entry("onnx-int8", "onnxruntime"), entry("torch-fp32", "torch"), entry("openvino-fp32", "openvino")),
    profiles=(
        profile("cpu", "onnx-int8"),
        profile("gpu", "torch-fp32", "windows", "linux", cuda="11.8"),
        profile("mps", "torch-fp32", "macos", macos="12.3"),
    ),
)


def ranked(device: DeviceProfile, manifest: Manifest = MANIFEST) -> list[tuple[str, str]]:
    return [(one.target, one.device_type) for one in choose(device, manifest).candidates]


def reasons(device: DeviceProfile, manifest: Manifest = MANIFEST) -> str:
    return " ".join(one.reason for one in choose(device, manifest).why_nots)


def test_a_cpu_gets_the_variant_of_its_profile() -> None:
    assert ranked(CPU) == [("onnx-int8", "cpu")]
    assert choose(CPU, MANIFEST).candidates[0].model_file == "EmberEye.bin"
    assert "production_gpu is for gpu, and this machine has cpu." in reasons(CPU)
    assert "The runtime openvino is not installed here." in reasons(CPU)


def test_an_accelerator_comes_first_and_the_cpu_stays_behind_it() -> None:
    assert ranked(NVIDIA) == [("torch-fp32", "gpu"), ("onnx-int8", "cpu")]
    assert ranked(APPLE) == [("torch-fp32", "mps"), ("onnx-int8", "cpu")]


@pytest.mark.parametrize("found", [{}, {"cuda": "11.7"}, {"cuda": "9.2"}, {"cuda": "?"}])
def test_an_old_driver_is_a_reason(found: dict[str, str]) -> None:
    old = replace(NVIDIA, versions=found)
    assert ranked(old) == [("onnx-int8", "cpu")]
    assert f"needs cuda 11.8 or newer, and this machine has {found.get('cuda', 'none')}." in reasons(old)


def test_versions_are_numbers_and_not_text() -> None:
    assert ("torch-fp32", "gpu") in ranked(replace(NVIDIA, versions={"cuda": "11.10"}))
    assert ("torch-fp32", "gpu") in ranked(replace(NVIDIA, versions={"cuda": "12.0-beta"}))


def test_the_wrong_system_is_a_reason() -> None:
    mac_with_nvidia = replace(NVIDIA, os="macos")
    assert "production_gpu is for windows, linux, and this machine runs macos." in reasons(mac_with_nvidia)


def test_variants_without_a_profile_come_last_in_the_manifests_order() -> None:
    more = replace(MANIFEST, entries=(*MANIFEST.entries, entry("null-fp32", "null"), entry("tflite-fp32", "null")))
    assert ranked(CPU, more) == [("onnx-int8", "cpu"), ("null-fp32", "cpu"), ("tflite-fp32", "cpu")]
    assert choose(CPU, more).candidates[1].model_file == "EmberEye.null"


def test_an_absent_runtime_leaves_nothing() -> None:
    bare = replace(CPU, runtimes={})
    assert ranked(bare) == []
    assert reasons(bare).count("is not installed here") == 2


def test_a_machine_that_has_only_torch_gets_what_was_meant_for_a_gpu() -> None:
    only_torch = replace(CPU, runtimes={"torch": "2"})
    assert ranked(only_torch) == [("torch-fp32", "cpu")]
    assert "tried on the CPU" in choose(only_torch, MANIFEST).candidates[0].reason
    assert "The runtime onnxruntime is not installed here." in reasons(only_torch)


def test_a_profile_of_nothing_is_a_reason() -> None:
    hollow = replace(MANIFEST, profiles=(profile("cpu", "tflite-fp32"),))
    assert "names tflite-fp32, which the bundle does not hold." in reasons(CPU, hollow)
