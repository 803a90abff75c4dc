"""The small promises of the words themselves: names, references, targets, digests, properties."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.strategies import core_dataclasses, instances_of
from wherry.core.device import Accelerator, DeviceProfile
from wherry.core.digest import FileRef, check_sha256, sha256_hex, short
from wherry.core.errors import BadInputError, UsageError
from wherry.core.manifest import Manifest, ManifestEntry
from wherry.core.model import Lineage, ModelSpec, Version, VersionDraft, VersionRef, check_alias, check_name
from wherry.core.report import Report, Tolerance, Verdict
from wherry.core.variant import PRECISIONS, Receipt, Target, Variant

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("kind", core_dataclasses(), ids=lambda kind: kind.__name__)
def test_every_core_dataclass_is_frozen_slotted_and_takes_keywords_only(kind: type) -> None:
    parameters = kind.__dataclass_params__
    assert parameters.frozen
    assert "__slots__" in vars(kind)
    assert all(field.kw_only for field in dataclasses.fields(kind))
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}("), "the generated docstring is no docstring"


def test_a_word_cannot_be_changed() -> None:
    reference = FileRef.of("a", b"")
    with pytest.raises(dataclasses.FrozenInstanceError):
        reference.size = 1


def test_the_digest_is_sha256() -> None:
    assert sha256_hex(b"") == EMPTY_SHA256
    assert check_sha256(EMPTY_SHA256) == EMPTY_SHA256
    assert short(EMPTY_SHA256) == "e3b0c44298fc"


@pytest.mark.parametrize("text", ["", "e3b0", EMPTY_SHA256.upper(), EMPTY_SHA256 + "0", EMPTY_SHA256 + "\n", "g" * 64])
def test_anything_else_is_no_digest(text: str) -> None:
    with pytest.raises(BadInputError, match="is not a sha256 digest"):
        check_sha256(text)


@given(data=st.binary(max_size=64))
def test_a_file_reference_names_bytes(data: bytes) -> None:
    reference = FileRef.of("blobs/x", data)
    assert reference == FileRef(path="blobs/x", size=len(data), sha256=sha256_hex(data))


@given(model=NAMES, number=st.integers(min_value=1, max_value=999_999_999))
def test_a_numbered_reference_survives_the_round_trip(model: str, number: int) -> None:
    reference = VersionRef(model=model, number=number)
    assert str(reference) == f"{model}@v{number}"
    assert VersionRef.parse(str(reference)) == reference


@given(model=NAMES, text=NAMES)
def test_what_is_read_is_written_the_same_way(model: str, text: str) -> None:
    reference = VersionRef.parse(f"{model}@{text}")
    assert str(reference) == f"{model}@{text}"
    assert (reference.number is None) != (reference.alias is None)


@pytest.mark.parametrize("text", ["", "fire", "@v1", "fire@", "fire@v1@v2", "fi re@v1", "fire@v1\n", "../x@v1", "f@-a"])
def test_anything_else_is_no_version(text: str) -> None:
    with pytest.raises(UsageError, match="is not a model version") as caught:
        VersionRef.parse(text)
    assert "NAME@v2" in caught.value.next_step


@given(name=NAMES)
def test_usable_names_are_given_back(name: str) -> None:
    assert check_name(name, "a model name") == name


@pytest.mark.parametrize("text", ["", ".hidden", "-flag", "a/b", "a\\b", "a b", "a\n", "é", "a" * 101])
def test_unusable_names_are_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="cannot be a product name: use letters"):
        check_name(text, "a product name")


def test_an_alias_is_a_name_but_not_a_number() -> None:
    assert check_alias("current_best") == "current_best"
    with pytest.raises(BadInputError, match="is the name of a version"):
        check_alias("v2")
    with pytest.raises(BadInputError, match="cannot be an alias"):
        check_alias("a b")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("onnx", Target(format="onnx")),
        ("onnx-fp32", Target(format="onnx")),
        ("onnx-int8", Target(format="onnx", precision="int8")),
        ("onnx-int8-dynamic", Target(format="onnx", precision="int8-dynamic")),
    ],
)
def test_a_target_is_a_format_and_a_precision(text: str, target: Target) -> None:
    assert Target.parse(text) == target
    assert Target.parse(target.name) == target


def test_an_unknown_precision_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'int3' is not a precision") as caught:
        Target.parse("onnx-int3")
    assert ", ".join(PRECISIONS) in caught.value.next_step


def test_options_are_not_part_of_a_target_name() -> None:
    assert Target(format="onnx", options={"opset": 11}).name == "onnx-fp32"


def device_with(*kinds: str) -> DeviceProfile:
    found = tuple(Accelerator(device_type=kind, name=f"a {kind}") for kind in kinds)
    return DeviceProfile(os="linux", arch="x86_64", cpu="a cpu", cores=2, memory_bytes=1, accelerators=found)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ((), ("cpu",)),
        (("gpu",), ("gpu", "cpu")),
        (("mps",), ("mps", "cpu")),
        (("mps", "gpu", "gpu"), ("gpu", "mps", "cpu")),
    ],
)
def test_a_device_always_has_a_cpu_and_the_fastest_comes_first(
    kinds: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert device_with(*kinds).device_types == expected


FILE = FileRef.of("model.onnx", b"weights")
SPEC = ModelSpec(task="classification", inputs=(), outputs=())
LINEAGE = Lineage(timestamp="2026-01-01T00:00:00+00:00", training_images=1100, new_images=100)
RECEIPT = Receipt(created_at="2026-01-01T00:00:00+00:00", source="a", tools={}, requested={}, effective={})
VARIANT = Variant(
    model="fire-detector",
    version=2,
    version_digest="b",
    target=Target(format="onnx", precision="int8"),
    engine="onnxruntime",
    files=(FILE, FileRef.of("model.onnx.data", b"more weights")),
    batch=None,
    receipt=RECEIPT,
)
REPORT = Report(
    variant=VARIANT.digest,
    target=VARIANT.name,
    golden=EMPTY_SHA256,
    where="build",
    verdict=Verdict.PASS,
    reasons=(),
    samples=8,
    outputs=(),
    metrics={},
    tolerance=Tolerance(min_cosine=0.9, max_abs=None, min_agreement=0.9, max_metric_drop=0.01),
    engine=None,
    not_covered=(),
    seconds=0.1,
    at="2026-01-01T00:00:00+00:00",
)


VERSION = Version(
    model="fire-detector",
    number=2,
    semantic_version="1.1.0",
    created_at="2026-01-01T00:00:00+00:00",
    spec=SPEC,
    program=FileRef.of("program.pt2", b"program"),
    checkpoint=(FILE, FileRef.of("notes.txt", b"notes")),
    golden=FileRef.of("golden.npz", b"golden"),
    lineage=LINEAGE,
    metrics={},
    architecture="c",
    tools={},
    digest="",
)


def test_a_version_is_named_as_it_is_written_on_a_command_line() -> None:
    assert VERSION.name == "fire-detector@v2"
    assert str(VersionRef.parse(VERSION.name)) == VERSION.name


def test_a_version_and_its_draft_name_all_their_files() -> None:
    names = {field.name for field in dataclasses.fields(VersionDraft)}
    draft = VersionDraft(**{name: getattr(VERSION, name) for name in names})
    evaluation = FileRef.of("evaluation.npz", b"evaluation")
    for document in (VERSION, draft):
        expected = (document.program, *document.checkpoint, document.golden)
        assert document.files == expected
        assert dataclasses.replace(document, evaluation=evaluation).files == (*expected, evaluation)


@pytest.mark.parametrize("verdict", Verdict)
def test_only_a_pass_is_a_pass(verdict: Verdict) -> None:
    assert dataclasses.replace(REPORT, verdict=verdict).passed == (verdict == "pass")


def test_a_variant_is_as_large_as_its_files() -> None:
    assert VARIANT.name == "onnx-int8"
    assert VARIANT.size == len(b"weights") + len(b"more weights")


@settings(max_examples=20)
@given(receipt=instances_of(Receipt))
def test_the_digest_of_a_variant_leaves_out_when_and_how(receipt: Receipt) -> None:
    assert dataclasses.replace(VARIANT, receipt=receipt).digest == VARIANT.digest


@pytest.mark.parametrize(
    "change",
    [
        {"version_digest": "other"},
        {"target": Target(format="onnx", precision="int8", options={"opset": 11})},
        {"engine": "openvino"},
        {"batch": 1},
        {"files": (FILE,)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_of_a_variant_holds_what_was_built(change: dict[str, object]) -> None:
    assert dataclasses.replace(VARIANT, **change).digest != VARIANT.digest


def test_a_manifest_finds_its_entries_by_target() -> None:
    entry = ManifestEntry(variant=VARIANT, report=REPORT)
    manifest = Manifest(
        product="EmberEye",
        model="fire-detector",
        version=2,
        version_digest="b",
        semantic_version="1.1.0",
        release=3,
        created_at="2026-01-01T00:00:00+00:00",
        spec=SPEC,
        lineage=LINEAGE,
        metrics={},
        golden=FILE,
        entries=(entry,),
        profiles=(),
    )
    assert manifest.name == "EmberEye v2 (release 3)"
    assert manifest.entry("onnx-int8") is entry
    assert manifest.entry("onnx-fp32") is None
