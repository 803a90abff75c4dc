"""Options as a person types them: typed by who knows them, refused when nobody does."""

from pathlib import Path

import pytest

from wherry.core.codec import from_json
from wherry.core.errors import UsageError
from wherry.core.model import ModelSpec, TensorSpec
from wherry.core.variant import METADATA_FILE, Target
from wherry.export.interface import Source
from wherry.export.metadata import write_metadata
from wherry.export.options import with_options
from wherry.export.targets import exporter_class


def test_an_option_goes_to_those_that_know_it():
    onnx, null = with_options([Target(format="onnx"), Target(format="null")], ["opset=17"])
    assert onnx.options == {"opset": 17}
    assert null.options == {}
    assert onnx.name == "onnx-fp32"


@pytest.mark.parametrize(
    ("pair", "said", "step"),
    [
        ("opset", "'opset' is not an option", "KEY=VALUE"),
        ("=3", "'=3' is not an option", "KEY=VALUE"),
        ("opset=new", "'opset' is 'new', and int is expected", ""),
        ("colour=red", "None of onnx-fp32 has an option 'colour'", "opset"),
    ],
)
def test_what_nobody_understands_is_a_usage_error(pair, said, step):
    with pytest.raises(UsageError, match=said) as caught:
        with_options([Target(format="onnx")], [pair])
    assert step in (caught.value.next_step or "")


def test_who_would_have_known_is_said():
    with pytest.raises(UsageError) as caught:
        with_options([Target(format="null")], ["opset=11"])
    assert "onnx-fp32" in (caught.value.next_step or "")


def test_an_opset_outside_of_what_there_is_is_refused_before_work():
    spec = ModelSpec(task="null", inputs=(), outputs=())
    onnx = exporter_class("onnx")
    assert "not between 11 and" in (onnx.unsupported(Target(format="onnx", options={"opset": 10}), spec) or "")
    old = Target(format="onnx", precision="int8", options={"opset": 12})
    assert "needs opset 13" in (onnx.unsupported(old, spec) or "")


def test_the_metadata_beside_a_file_is_the_same_every_time(tmp_path: Path):
    tensor = TensorSpec(name="x", dtype="float32", shape=("batch", 4))
    spec = ModelSpec(task="classification", inputs=(tensor,), outputs=(tensor,), class_names=("a", "b"))
    source = Source(model="m", version=2, spec=spec, program=tmp_path, facts={"total_epochs": 3})
    target = Target(format="onnx", precision="int8")
    write_metadata(tmp_path, source, target, batch=None, effective={"opset": 18})
    first = (tmp_path / METADATA_FILE).read_bytes()
    write_metadata(tmp_path, source, target, batch=None, effective={"opset": 18})
    assert (tmp_path / METADATA_FILE).read_bytes() == first
    found = from_json(first, dict, what="metadata")
    assert (found["version"], found["precision"], found["effective"]) == ("v2", "int8", {"opset": 18})
    assert found["training"] == {"total_epochs": 3}
    assert found["preprocessing"]["kind"] == "tensor"
