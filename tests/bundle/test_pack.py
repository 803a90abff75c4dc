"""Packing: only what is proven and unchanged gets in, each blob once, companions that follow from the manifest."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bundle.publishers import Publisher, everything, make_report, make_variant
from wherry.bundle.companions import companions
from wherry.bundle.layout import blob_path, blobs
from wherry.bundle.pack import BundleDraft, PackEntry, pack
from wherry.bundle.profiles import deployment_profiles
from wherry.core.codec import from_json
from wherry.core.digest import sha256_hex
from wherry.core.errors import (
    BadInputError,
    DigestMismatchError,
    NotFoundError,
    ProofRefusedError,
    RefusedError,
    StorageError,
    WherryError,
)
from wherry.core.manifest import Manifest
from wherry.core.report import Proven, Verdict


def changed_report(draft: BundleDraft, **changes: object) -> BundleDraft:
    first = draft.entries[0]
    proven = replace(first.proven, report=replace(first.proven.report, **changes))
    return replace(draft, entries=(replace(first, proven=proven), *draft.entries[1:]))


def test_a_folder_holds_manifest_companions_and_each_blob_once(publisher: Publisher, tmp_path: Path) -> None:
    bundle = pack(publisher.draft(3, notes="For the harbour."), tmp_path / "bundle")
    files = everything(bundle.folder)
    assert from_json(files["manifest.json"], Manifest, what="it", schema=1) == bundle.manifest
    assert files["manifest.json"] == bundle.manifest_bytes
    named = {blob_path(file.sha256) for file in blobs(bundle.manifest)} | {
        file.path for file in bundle.manifest.companions
    }
    assert set(files) == named | {"manifest.json"}
    assert len([name for name in files if name.startswith("blobs/")]) == 3, "two variants share both files"
    for file in (*blobs(bundle.manifest), *bundle.manifest.companions):
        data = files.get(file.path, files.get(blob_path(file.sha256)))
        assert data is not None
        assert (len(data), sha256_hex(data)) == (file.size, file.sha256)
    assert bundle.manifest.notes == "For the harbour."
    assert [entry.variant.name for entry in bundle.manifest.entries] == ["onnx-fp32", "null-fp32"]


def test_the_same_draft_gives_the_same_bytes(publisher: Publisher, tmp_path: Path) -> None:
    draft = publisher.draft()
    assert everything(pack(draft, tmp_path / "a").folder) == everything(pack(draft, tmp_path / "b").folder)


@pytest.mark.parametrize(
    ("changes", "clause"),
    [
        ({"verdict": Verdict.VACUOUS}, "its verdict is vacuous"),
        ({"reasons": ("It differs.",)}, "its verdict is"),
        ({"variant": "0" * 64}, "about other files"),
        ({"golden": "0" * 64}, "another golden set"),
    ],
)
def test_what_is_not_proven_does_not_get_in(
    publisher: Publisher, tmp_path: Path, changes: dict[str, object], clause: str
) -> None:
    with pytest.raises(ProofRefusedError, match=clause) as caught:
        pack(changed_report(publisher.draft(), **changes), tmp_path / "bundle")
    assert caught.value.exit_code == 3
    assert not (tmp_path / "bundle").exists()


def test_a_variant_of_another_version_does_not_get_in(publisher: Publisher, tmp_path: Path) -> None:
    draft = publisher.draft()
    with pytest.raises(ProofRefusedError, match="was not made from"):
        pack(replace(draft, version=replace(draft.version, digest="1" * 64)), tmp_path / "bundle")


def entry_with(draft: BundleDraft, **names: bytes) -> PackEntry:
    variant = make_variant(draft.version, "null-int8", {name.replace("__", "/"): data for name, data in names.items()})
    proven = Proven(variant=variant, report=make_report(variant, draft.version.golden))
    return PackEntry(proven=proven, files=draft.entries[0].files)


def _bad_drafts(draft: BundleDraft) -> dict[str, BundleDraft]:
    first = draft.entries[0]
    profile = draft.profiles[0]
    escaping = make_variant(draft.version, "null-int8", {"../up": b"x"})
    entry = PackEntry(
        proven=Proven(variant=escaping, report=make_report(escaping, draft.version.golden)), files=first.files
    )
    return {
        "counted from 1": replace(draft, release=0),
        "cannot be a product name": replace(draft, product="../Ember"),
        "is a name that Windows keeps": replace(draft, product="NUL", profiles=()),
        "is not a version of": replace(draft, model="other"),
        "no proven variant": replace(draft, entries=()),
        "onnx-fp32 is there twice": replace(draft, entries=(first, first)),
        "not in the bundle": replace(draft, profiles=(replace(profile, target="hailo-int8"),)),
        "files do not fit": replace(draft, profiles=(replace(profile, model_file="a/../b"),)),
        "leads out of its folder": replace(draft, entries=(*draft.entries, entry)),
        "it has no files": replace(draft, entries=(*draft.entries, entry_with(draft))),
        "The golden set's name": replace(
            draft, version=replace(draft.version, golden=replace(draft.version.golden, path="/golden"))
        ),
    }


def test_drafts_that_do_not_fit(publisher: Publisher, tmp_path: Path) -> None:
    for clause, draft in _bad_drafts(publisher.draft()).items():
        with pytest.raises(BadInputError, match=clause) as caught:
            pack(draft, tmp_path / "bundle")
        assert caught.value.exit_code == 4
        assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("limit", ["MAX_MANIFEST", "MAX_MEMBERS"])
def test_what_a_device_would_not_read_is_not_written(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(f"wherry.bundle.pack.{limit}", 10)
    with pytest.raises(BadInputError, match="are too much"):
        pack(publisher.draft(), tmp_path / "bundle")


def test_a_file_that_changed_since_its_proof_does_not_get_in(publisher: Publisher, tmp_path: Path) -> None:
    draft = publisher.draft()
    path = draft.entries[0].files / "model.onnx"
    good = path.read_bytes()
    for data in (good[:-1] + b"?", good + b"?", b""):
        path.write_bytes(data)
        with pytest.raises(DigestMismatchError, match=r"model\.onnx has changed since it was proven"):
            pack(draft, tmp_path / "bundle")
    path.unlink()
    with pytest.raises(NotFoundError, match=r"model\.onnx does not exist"):
        pack(draft, tmp_path / "bundle")
    path.write_bytes(good)
    draft.golden.write_bytes(b"other")
    with pytest.raises(DigestMismatchError, match="golden"):
        pack(draft, tmp_path / "bundle")
    assert not list(tmp_path.glob("*bundle*"))


def test_a_folder_in_use_is_not_touched(publisher: Publisher, tmp_path: Path) -> None:
    draft = publisher.draft()
    (tmp_path / "bundle").mkdir()
    pack(draft, tmp_path / "bundle")
    before = everything(tmp_path / "bundle")
    with pytest.raises(RefusedError, match="not empty"):
        pack(draft, tmp_path / "bundle")
    assert everything(tmp_path / "bundle") == before
    (tmp_path / "file").write_bytes(b"")
    errors: list[type[WherryError]] = []
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises((RefusedError, StorageError)) as caught:
            pack(draft, place)
        errors.append(caught.type)
    assert errors == [RefusedError, StorageError]


def test_deployment_manifest_has_the_contracts_keys(publisher: Publisher) -> None:
    files = everything(publisher.packed().folder)
    document = json.loads(files["deployment_manifest.json"])
    assert set(document) == {"version", "exported_at", "deployment_profiles"}
    assert document["version"] == "v2"
    assert [profile["name"] for profile in document["deployment_profiles"]] == [
        "production_cpu",
        "production_gpu_nvidia",
        "production_gpu_apple",
    ]
    for profile in document["deployment_profiles"]:
        assert set(profile) == {"name", "device_type", "model_file", "supported_os", "optimization"}


def test_each_profile_has_a_configuration_of_its_own(publisher: Publisher) -> None:
    files = everything(publisher.packed().folder)
    for stem, device in (("EmberEye", "cpu"), ("EmberEye_gpu", "gpu"), ("EmberEye_mps", "mps")):
        config = json.loads(files[f"{stem}_config.json"])
        assert config["model_file"] == f"{stem}.onnx"
        assert config["device_type"] == device
        assert config["class_names"] == ["fire", "no fire"]
        assert config["preprocessing"]["layout"] == "NCHW"
        assert config["inputs"][0]["shape"] == ["batch", 4]
        assert config["task"] == "classification"
        assert config["version"] == 2
    assert json.loads(files["classes.json"]) == ["fire", "no fire"]
    metrics = json.loads(files["metrics.json"])
    assert metrics["metrics"] == {"accuracy": 0.97}
    assert metrics["variants"]["onnx-fp32"]["verdict"] == "pass"


def test_the_readme_says_how_to_install_on_each_system(publisher: Publisher) -> None:
    text = companions(publisher.packed(4, notes="For the harbour.").manifest)["README.txt"].decode()
    for root in ('"C:\\Program Files\\EmberEye"', "/Applications/EmberEye", "/opt/embereye"):
        assert f"wherry device install BUNDLE.zip --root {root} --root-key root.json" in text
    for words in (
        "EmberEye v2 (release 4)",
        "For the harbour.",
        "needs cuda 11.8 or newer",
        "Windows",
        "macOS",
        "Linux",
    ):
        assert words in text
    assert max(len(line) for line in text.splitlines()) < 120


def profile_facts(publisher: Publisher, *variants: tuple[str, str, str]) -> dict[str, tuple[str, str]]:
    version = publisher.draft().version
    made = [make_variant(version, target, {f"model.{suffix}": b"x"}, engine) for target, engine, suffix in variants]
    profiles = deployment_profiles("EmberEye", made)
    return {profile.name: (profile.target, profile.model_file) for profile in profiles}


def test_the_pytorch_program_serves_accelerators_before_onnx(publisher: Publisher) -> None:
    openvino, onnx = ("openvino-int8", "openvino", "xml"), ("onnx-fp32", "onnxruntime", "onnx")
    int8, torch = ("onnx-int8", "onnxruntime", "onnx"), ("pt2-fp32", "torch", "pt2")
    assert profile_facts(publisher, openvino, int8, onnx, torch) == {
        "production_cpu": ("openvino-int8", "EmberEye.xml"),
        "production_gpu_nvidia": ("pt2-fp32", "EmberEye_gpu.pt2"),
        "production_gpu_apple": ("pt2-fp32", "EmberEye_mps.pt2"),
    }
    assert profile_facts(publisher, int8, onnx)["production_gpu_nvidia"] == ("onnx-fp32", "EmberEye_gpu.onnx")
    assert set(profile_facts(publisher, openvino, int8)) == {"production_cpu"}


def test_profiles_say_what_they_need(publisher: Publisher) -> None:
    cpu, nvidia, apple = publisher.draft().profiles
    assert (cpu.supported_os, cpu.optimization, cpu.requires) == (("windows", "macos", "linux"), "balanced", {})
    assert (nvidia.supported_os, nvidia.optimization, nvidia.requires) == (
        ("windows", "linux"),
        "speed",
        {"cuda": "11.8"},
    )
    assert (apple.supported_os, apple.optimization, apple.requires) == (("macos",), "speed", {"macos": "12.3"})


def test_nothing_proven_means_no_profiles() -> None:
    with pytest.raises(BadInputError, match="nothing to deploy"):
        deployment_profiles("EmberEye", [])
    with pytest.raises(BadInputError, match="product name"):
        deployment_profiles("../x", [])
