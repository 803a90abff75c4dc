"""The training site's road, step by step, with the null target: the order is enforced, and each step is kept."""

import json
import zipfile

import pytest

from wherry import delivery
from wherry.bundle.trust.keys import init_keys
from wherry.core.digest import FileRef
from wherry.core.errors import (
    BadInputError,
    NotFoundError,
    ProofRefusedError,
    TrustError,
    UsageError,
    WherryError,
)
from wherry.core.report import Verdict
from wherry.core.variant import Receipt, Target, Variant
from wherry.proof.record import Examples

NULL = Target(format="null")


@pytest.fixture
def exported(registry):
    outcomes = delivery.export(registry, "m@v1", [NULL])
    assert [outcome.error for outcome in outcomes] == [None]
    return registry


@pytest.fixture
def proven(exported):
    (report,) = delivery.prove(exported, "m@v1")
    assert report.verdict is Verdict.PASS
    return exported


def shipment(tmp_path, **changes):
    given = {"product": "EmberEye", "trust": tmp_path / "trust", "who": "test", "why": "for all sites"} | changes
    return delivery.Shipment(**given)


def test_no_step_without_the_one_before(registry, tmp_path):
    with pytest.raises(NotFoundError, match="no variants yet"):
        delivery.prove(registry, "m@v1")
    delivery.export(registry, "m@v1", [NULL])
    with pytest.raises(ProofRefusedError, match="no proven variant to measure"):
        delivery.bench(registry, "m@v1")
    with pytest.raises(NotFoundError, match="proven and measured"):
        delivery.choose(registry, "m@v1")
    with pytest.raises(ProofRefusedError, match="no passed proof"):
        delivery.proven_variant(registry, registry.version("m@v1"), "null-fp32")
    with pytest.raises(NotFoundError, match="no keys"):
        delivery.bundle(registry, "m@v1", shipment(tmp_path))
    init_keys(tmp_path / "trust")
    with pytest.raises(ProofRefusedError, match="nothing to ship"):
        delivery.bundle(registry, "m@v1", shipment(tmp_path))
    assert not [event for event in registry.events() if event.kind == "released"]


def test_the_second_export_is_reused(exported):
    (again,) = delivery.export(exported, "m@v1", [NULL])
    assert again.reused
    assert len(exported.variants("m", 1)) == 1


def test_one_that_fails_does_not_cost_the_others(registry):
    states = []
    outcomes = delivery.export(
        registry,
        "m@v1",
        [Target(format="null", options={"colour": "red"}), NULL],
        on_event=lambda name, state: states.append((name, state)),
    )
    assert [outcome.variant is None for outcome in outcomes] == [True, False]
    assert "colour" in outcomes[0].error
    assert ("null-fp32", "done") in states
    with pytest.raises(NotFoundError, match="hologram"):
        delivery.export(registry, "m@v1", [Target(format="hologram")])


def test_calibration_may_not_overlap_with_the_proof(registry):
    from wherry.proof.golden import GoldenSet

    version = registry.version("m@v1")
    raw = GoldenSet.from_bytes(registry.read(version.evaluation.sha256)).raw[:3]
    with pytest.raises(BadInputError, match="calibration set too"):
        delivery.export(registry, "m@v1", [NULL], calibration=Examples(raw=raw))
    (fine,) = delivery.export(registry, "m@v1", [NULL], calibration=Examples(raw=raw + 100, source="here"))
    assert fine.variant is not None


def test_a_failed_proof_is_a_report_and_is_left_out(registry, tmp_path):
    delivery.export(registry, "m@v2", [NULL])
    seen = []
    (report,) = delivery.prove(registry, "m@v2", ["null-fp32"], on_report=seen.append)
    assert seen == [report]
    assert report.verdict is Verdict.OUTPUT_MISMATCH
    choice = delivery.choose(registry, "m@v2")
    assert choice.target is None
    assert "failed its proof" in choice.why_nots[0].reason
    with pytest.raises(NotFoundError, match="fits"):
        delivery.proven_variant(registry, registry.version("m@v2"), choice.target)
    init_keys(tmp_path / "trust")
    with pytest.raises(ProofRefusedError, match="nothing to ship"):
        delivery.bundle(registry, "m@v2", shipment(tmp_path))


def test_a_runtime_that_dies_is_a_verdict(registry, monkeypatch):
    delivery.export(registry, "m@v1", [NULL])
    version = registry.version("m@v1")
    variant = registry.variant("m", 1, "null-fp32")
    monkeypatch.setattr("wherry.delivery.proving._PROOF_TIMEOUT_S", 0.0)
    (report,) = delivery.prove(registry, version.name)
    assert report.verdict is Verdict.RUN_FAIL
    assert report.variant == variant.digest
    assert "0 seconds" in report.reasons[0]


def test_measured_chosen_and_shipped(proven, tmp_path):
    (measurement,) = delivery.bench(proven, "m@v1", batches=(2,), seconds=0.05)
    assert (measurement.batch, measurement.target) == (2, "null-fp32")
    assert delivery.choose(proven, "m@v1").target == "null-fp32"
    assert delivery.proven_variant(proven, proven.version("m@v1"), "null-fp32").engine == "null"
    init_keys(tmp_path / "trust")
    first = delivery.bundle(proven, "m@v1", shipment(tmp_path))
    second = delivery.bundle(proven, "m@v1", shipment(tmp_path))
    assert first.path == proven.root / "models/m/exports/v1/packages/EmberEye_v1_auto_all.zip"
    assert second.path.name == "EmberEye_v1_auto_all_r2.zip"
    with zipfile.ZipFile(first.path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["entries"][0]["measurement"]["target"] == "null-fp32"
    assert manifest["notes"] == "for all sites"
    elsewhere = delivery.bundle(proven, "m@v1", shipment(tmp_path, out=tmp_path / "out"))
    assert elsewhere.path == tmp_path / "out" / "EmberEye_v1_auto_all.zip"
    assert [e.details["release"] for e in proven.events() if e.kind == "released"] == [3, 2, 1]
    assert not list(proven.root.glob("tmp*"))


def test_a_file_that_changed_since_its_proof_does_not_ship(proven, tmp_path):
    init_keys(tmp_path / "trust")
    variant = proven.variant("m", 1, "null-fp32")
    blob = proven.blob_path(variant.files[0].sha256)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with pytest.raises(TrustError):
        delivery.bundle(proven, "m@v1", shipment(tmp_path))


def test_names_are_checked(proven, tmp_path):
    init_keys(tmp_path / "trust")
    with pytest.raises(BadInputError, match="product"):
        delivery.bundle(proven, "m@v1", shipment(tmp_path, product="../x"))
    with pytest.raises(UsageError):
        delivery.promote(proven, "m", "production", who="a", why="b")
    with pytest.raises(NotFoundError):
        delivery.promote(proven, "m@v9", "production", who="a", why="b")
    assert delivery.promote(proven, "m@v1", "production", who="a", why="b").previous is None


def test_the_newest_proof_counts(proven):
    variant = proven.variant("m", 1, "null-fp32")
    receipt = Receipt(created_at="t", source="0" * 64, tools={}, requested={}, effective={})
    broken = Variant(
        model="m",
        version=1,
        version_digest=proven.version("m@v1").digest,
        target=variant.target,
        engine="null",
        files=(FileRef.of("model.null", b"not a null model"),),
        batch=None,
        receipt=receipt,
    )
    proven.put_bytes("model.null", b"not a null model")
    proven.put_variant(broken)
    (report,) = delivery.prove(proven, "m@v1")
    assert report.verdict is Verdict.LOAD_FAIL
    with pytest.raises(WherryError):
        delivery.proven_variant(proven, proven.version("m@v1"), "null-fp32")
