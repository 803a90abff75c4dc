"""What a variant that dies costs the others: nothing."""

import os
from dataclasses import replace

import pytest

from wherry import delivery
from wherry.core.digest import FileRef
from wherry.core.errors import ChildError
from wherry.core.variant import Target
from wherry.jobs import child

pytestmark = pytest.mark.slow
REAL = child.run_in_child


@pytest.fixture
def two(registry):
    delivery.export(registry, "m@v1", [Target(format="null")])
    (report,) = delivery.prove(registry, "m@v1")
    variant = registry.variant("m", 1, "null-fp32")
    other = replace(variant, target=Target(format="null", precision="fp16"))
    registry.put_variant(other)
    registry.put_report(other, replace(report, variant=other.digest, target=other.name))
    return registry


def names(measurements):
    return [m.target for m in measurements]


def test_variants_settings_and_runs(two):
    found = delivery.bench(two, "m@v1", batches=(1, 3, 3), threads=(1, 2), seconds=0.05)
    assert [(m.batch, m.threads) for m in found[::2]] == [(1, 1), (3, 1), (1, 2), (3, 2)]
    assert len({m.run for m in found}) == 4
    assert all(m.peak_memory_mb > m.memory_mb >= 0 for m in found)
    choice = delivery.choose(two, "m@v1")
    assert "batch of 1" in choice.reason
    assert choice.notes == ()


def test_one_that_cannot_be_opened_is_left_out(two):
    bad = two.variant("m", 1, "null-fp16")
    broken = replace(bad, files=(two.put_bytes("model.null", b"no model" + os.urandom(4)),))
    assert isinstance(broken.files[0], FileRef)
    report = two.reports(bad.digest)[0]
    two.put_variant(broken)
    two.put_report(broken, replace(report, variant=broken.digest))
    skipped = []
    found = delivery.bench(two, "m@v1", seconds=0.05, on_skipped=lambda name, error: skipped.append((name, str(error))))
    assert names(found) == ["null-fp32"]
    assert skipped == [("null-fp16", "model.null is not a null model.")]


def test_a_crash_side_by_side_is_measured_apart(two, monkeypatch):
    def crash_together(function, spec, *rest, **named):
        if function.endswith("measure_variants") and len(spec.variants) > 1:
            msg = "crashed with SIGSEGV"
            raise ChildError(msg)
        return REAL(function, spec, *rest, **named)

    monkeypatch.setattr(child, "run_in_child", crash_together)
    found = delivery.bench(two, "m@v1", seconds=0.05)
    assert sorted(names(found)) == ["null-fp16", "null-fp32"]
    assert len({m.run for m in found}) == 2
    assert "Not all variants were measured side by side" in delivery.choose(two, "m@v1").notes[0]


def test_when_every_one_crashes_the_crash_is_told(two, monkeypatch):
    def crash(function, spec, *rest, **named):
        if function.endswith("measure_variants"):
            msg = f"crashed with {len(spec.variants)}"
            raise ChildError(msg)
        return REAL(function, spec, *rest, **named)

    monkeypatch.setattr(child, "run_in_child", crash)
    with pytest.raises(ChildError, match="crashed with 2"):
        delivery.bench(two, "m@v1", seconds=0.05)
    with pytest.raises(ChildError, match="crashed with 1"):
        delivery.bench(two, "m@v1", ["null-fp32"], seconds=0.05)
