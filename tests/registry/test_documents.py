"""Variants, reports and measurements: kept, found by digest, newest first."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from wherry.core.digest import FileRef
from wherry.core.errors import BadInputError, NotFoundError
from wherry.core.report import Verdict
from wherry.registry import Registry

Call = Callable[..., Any]
MODEL = "fire-detector"


def test_variants_are_found_by_target(registry: Registry, register: Call, make_variant: Call) -> None:
    version = register("one")
    made = {name: make_variant(registry, version, name) for name in ("openvino-fp32", "onnx-int8", "onnx-fp32")}
    for variant in made.values():
        registry.put_variant(variant)
    assert registry.variants(MODEL, 1) == [made[name] for name in sorted(made)]
    assert registry.variant(MODEL, 1, "onnx-int8") == made["onnx-int8"]
    with pytest.raises(NotFoundError, match="no variant 'tflite-fp32'") as raised:
        registry.variant(MODEL, 1, "tflite-fp32")
    assert raised.value.next_step == "It has onnx-fp32, onnx-int8, openvino-fp32."


def test_a_version_without_variants(registry: Registry, register: Call) -> None:
    register("one")
    assert registry.variants(MODEL, 1) == []
    with pytest.raises(NotFoundError) as raised:
        registry.variant(MODEL, 1, "onnx-fp32")
    assert "wherry export" in raised.value.next_step
    for call in (lambda: registry.variants(MODEL, 2), lambda: registry.variant("nobody", 1, "onnx-fp32")):
        with pytest.raises(NotFoundError):
            call()


def test_the_variant_that_was_put_last_is_the_present_one(
    registry: Registry, register: Call, make_variant: Call
) -> None:
    version = register("one")
    old = make_variant(registry, version, files={"model.onnx": b"old"})
    new = make_variant(registry, version, files={"model.onnx": b"new"})
    for variant in (old, old, new):
        registry.put_variant(variant)
    registry.put_variant(replace(new, receipt=replace(new.receipt, seconds=9.0)))
    assert registry.variants(MODEL, 1) == [new]
    registry.put_variant(old)
    assert registry.variant(MODEL, 1, "onnx-fp32") == old


def test_a_variant_of_other_content_is_refused(registry: Registry, register: Call, make_variant: Call) -> None:
    version = register("one")
    variant = make_variant(registry, version)
    with pytest.raises(BadInputError, match="is not fire-detector@v1"):
        registry.put_variant(replace(variant, version_digest="0" * 64))
    with pytest.raises(BadInputError, match=r"names gone\.onnx"):
        registry.put_variant(replace(variant, files=(FileRef.of("gone.onnx", b"never stored"),)))
    with pytest.raises(NotFoundError, match="no version v7"):
        registry.put_variant(replace(variant, version=7))
    with pytest.raises(BadInputError, match="cannot be stored as JSON"):
        registry.put_variant(replace(variant, receipt=replace(variant.receipt, seconds=math.nan)))
    assert registry.variants(MODEL, 1) == []


def test_reports_come_newest_first_and_once(
    registry: Registry, register: Call, make_variant: Call, make_report: Call
) -> None:
    variant = make_variant(registry, register("one"))
    registry.put_variant(variant)
    failed = make_report(variant, verdict=Verdict.OUTPUT_MISMATCH, reasons=("too far",))
    passed = make_report(variant, at="2026-11-20T12:00:00+00:00")
    for report in (failed, passed, failed):
        registry.put_report(variant, report)
    assert registry.reports(variant.digest) == [passed, failed]
    assert registry.reports("0" * 64) == []


def test_a_report_must_belong_to_a_variant_that_is_known(
    registry: Registry, register: Call, make_variant: Call, make_report: Call
) -> None:
    variant = make_variant(registry, register("one"))
    with pytest.raises(BadInputError, match="not in the registry"):
        registry.put_report(variant, make_report(variant))
    registry.put_variant(variant)
    with pytest.raises(BadInputError, match="another variant"):
        registry.put_report(variant, make_report(variant, variant="0" * 64))
    with pytest.raises(BadInputError, match="the report on onnx-fp32 cannot be stored as JSON"):
        registry.put_report(variant, make_report(variant, metrics={"accuracy": math.nan}))
    assert registry.reports(variant.digest) == []


def test_measurements_come_newest_first_and_once(
    registry: Registry, register: Call, make_variant: Call, make_measurement: Call
) -> None:
    variant = make_variant(registry, register("one"))
    first = make_measurement(variant)
    with pytest.raises(BadInputError, match="not in the registry"):
        registry.put_measurement(first)
    registry.put_variant(variant)
    second = replace(first, machine="a board", p50_ms=20.0)
    for measurement in (first, second, first):
        registry.put_measurement(measurement)
    assert registry.measurements(variant.digest) == [second, first]
