import json
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.strategies import JSON_VALUES, core_dataclasses, instances_of
from wherry.core.codec import document_digest, from_json, to_builtins, to_json
from wherry.core.digest import FileRef, sha256_hex
from wherry.core.errors import DocumentError
from wherry.core.model import Lineage, TensorSpec
from wherry.core.report import OutputError

FILE = FileRef(path="weights/größe.pt", size=3, sha256="0" * 64)


@pytest.mark.parametrize("kind", core_dataclasses(), ids=lambda kind: kind.__name__)
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_every_core_dataclass_survives_the_round_trip(kind: type, data: st.DataObject) -> None:
    value = data.draw(instances_of(kind))
    document = to_json(value)
    again = from_json(document, kind, what="the document")
    assert again == value
    assert to_json(again) == document


def test_core_dataclasses_are_found() -> None:
    names = {kind.__name__ for kind in core_dataclasses()}
    assert {"FileRef", "ModelSpec", "Version", "Variant", "Report", "Manifest", "DeviceProfile"} <= names


@given(value=st.dictionaries(st.text(max_size=6), JSON_VALUES, max_size=6))
def test_free_form_values_are_plain_json_for_every_other_reader(value: dict[str, object]) -> None:
    assert json.loads(to_json(value)) == value


@given(items=st.lists(st.tuples(st.text(max_size=4), JSON_VALUES), unique_by=lambda item: item[0], max_size=6))
def test_the_order_of_keys_does_not_change_the_bytes(items: list[tuple[str, object]]) -> None:
    assert to_json(dict(items)) == to_json(dict(reversed(items)))
    assert document_digest(dict(items)) == document_digest(dict(reversed(items)))


def test_the_bytes_are_readable_and_canonical() -> None:
    expected = '{\n  "path": "weights/größe.pt",\n  "sha256": "' + "0" * 64 + '",\n  "size": 3\n}\n'
    assert to_json(FILE) == expected.encode()
    assert document_digest(FILE) == sha256_hex(expected.encode())


def test_builtins_are_what_stands_in_the_document() -> None:
    spec = TensorSpec(name="image", dtype="float32", shape=("batch", 3))
    assert to_builtins(spec) == {"dtype": "float32", "meaning": "", "name": "image", "shape": ["batch", 3]}
    assert to_builtins(spec) == json.loads(to_json(spec))


def test_a_whole_number_in_a_field_for_fractions_gives_the_same_document() -> None:
    whole = Lineage(timestamp="t", training_images=1, new_images=1, training_time_hours=2)
    fraction = Lineage(timestamp="t", training_images=1, new_images=1, training_time_hours=2.0)
    assert to_json(whole) == to_json(fraction)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_could_not_be_read_again_is_not_written(number: float) -> None:
    value = OutputError(name="logits", max_abs=number, mean_abs=0.0, cosine=1.0, snr_db=None)
    with pytest.raises(DocumentError, match=r"`\$\.max_abs` is") as caught:
        to_json(value)
    assert "None" in caught.value.next_step


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", r"the reference cannot be read: .*truncated"),
        (b"{", r"the reference cannot be read"),
        (b"[]", r"Expected `object`, got `array`"),
        (b'{"path": "a", "size": 1}', r"missing required field `sha256`"),
        (b'{"path": "a", "size": "1", "sha256": ""}', r"Expected `int`, got `str` - at `\$\.size`"),
        (b'{"path": "\xff", "size": 1, "sha256": ""}', r"the reference (is not UTF-8 text|cannot be read)"),
    ],
)
def test_a_document_that_does_not_fit_says_where(document: bytes, message: str) -> None:
    with pytest.raises(DocumentError, match=message) as caught:
        from_json(document, FileRef, what="the reference")
    assert caught.value.exit_code == 4


def test_unknown_fields_are_allowed() -> None:
    document = b'{"path": "a", "size": 1, "sha256": "b", "added_in_a_later_release": true}'
    assert from_json(document, FileRef, what="the reference") == FileRef(path="a", size=1, sha256="b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    text: str
    schema: int = 1


def test_the_known_schema_is_read() -> None:
    assert from_json(to_json(Numbered(text="x")), Numbered, what="it", schema=1) == Numbered(text="x")


@pytest.mark.parametrize("document", [b'{"text": "x", "schema": 2}', b'{"text": "x"}', b'{"text": "x", "schema": "1"}'])
def test_an_unknown_schema_is_an_error_with_a_way_out(document: bytes) -> None:
    with pytest.raises(DocumentError, match=r"it has schema .*, and this wherry reads schema 1\.") as caught:
        from_json(document, Numbered, what="it", schema=1)
    assert "Update wherry" in caught.value.next_step


def test_a_schema_is_asked_of_an_object_only() -> None:
    with pytest.raises(DocumentError, match="Expected `object`"):
        from_json(b"[1]", Numbered, what="it", schema=1)


def test_a_field_of_the_wrong_type_is_not_written() -> None:
    value = OutputError(name=3, max_abs=0.0, mean_abs=0.0, cosine=1.0, snr_db=None)  # type: ignore[arg-type]
    with pytest.raises(DocumentError, match=r"OutputError cannot be written.*\$\.name"):
        to_json(value)
