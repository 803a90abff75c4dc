"""Random, cut and changed files never crash the scan, and no change lets a name pass that is not on the lists."""

import io
import pickletools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoint import assemble as a
from tests.checkpoint import messages as m
from wherry.checkpoint import allowed, objects
from wherry.checkpoint.scan import ScanReport, scan_file

LINEAR = a.name("torch.nn.modules.linear", "Linear") + a.EMPTY_TUPLE + b"\x81"
STREAM = a.proto(4) + a.MARK + LINEAR + a.short_text("collections") + a.short_text("OrderedDict") + b"\x93)R\x94t."
SEEDS = {
    "pickle": STREAM,
    "torch-zip": a.torch_zip(a.state_dict(a.tensor())),
    "legacy": a.legacy(a.state_dict(a.tensor())),
    "onnx": m.onnx(m.onnx_node("Relu"), tensors=(m.onnx_tensor("m.data"),)),
    "tflite": m.tflite("TFLite_Detection_PostProcess"),
    "executorch": m.executorch("aten::add"),
    "coreml": m.coreml(502, m.field(2, m.field(5, m.field(1, "@model_path/x") + m.field(2, 64)))),
    "saved model": m.saved_model("Const", library=("Relu",)),
    "safetensors": a.safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "xml": b'<?xml version="1.0"?><net><layers/></net>',
    "keras": a.archive({"config.json": b'{"class_name": "Dense", "config": {}}', "metadata.json": b"{}"}),
}
HEADS = [
    b"",
    b"PK\x03\x04",
    b"\x80\x04",
    b"\x93NUMPY\x01\x00",
    b"\x89HDF\r\n\x1a\n",
    b"\x1f\x8b\x08",
    b"BZh9",
    b"<net ",
]
HEADS += [
    b"<net ",
    b"\x08\x08",
    b"\x0a\x05",
    b"\x18\x00\x00\x00TFL3",
    b"\x18\x00\x00\x00ET12",
    b"\xfd7zXZ\x00",
    b"{",
    b"x\x9c",
]


def report_of(raw: bytes, *, inside: bool = False) -> ScanReport:
    return scan_file(io.BytesIO(raw), Path("fuzz"), allow="modules", inside=inside)


@given(data=st.binary(max_size=400), head=st.sampled_from(HEADS), inside=st.booleans())
@settings(max_examples=150, deadline=None)
def test_random_bytes_never_crash(data: bytes, head: bytes, inside: bool) -> None:
    assert all(finding.code != "unparsed" for finding in report_of(head + data, inside=inside).findings)


@pytest.mark.parametrize("kind", SEEDS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_changed_files_never_crash(kind: str, data: st.DataObject) -> None:
    raw = bytearray(SEEDS[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for whole in (bytes(raw), bytes(raw[:cut])):
        assert all(finding.code != "unparsed" for finding in report_of(whole).findings)


def globals_of(raw: bytes) -> list[str]:
    """Names that the stream takes from texts in it, as the standard library's own reader of opcodes sees them."""
    names = []
    for opcode, argument, _ in pickletools.genops(raw):
        if opcode.name in ("GLOBAL", "INST"):
            names.append(str(argument))
    return names


@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_no_change_of_a_stream_lets_an_unlisted_name_pass(data: st.DataObject) -> None:
    raw = bytearray(a.proto() + a.MARK + LINEAR + a.name("torch.nn.functional", "relu") + LINEAR + a.TUPLE + a.STOP)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(2, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if not report_of(bytes(raw)).clean:
        return
    for name in globals_of(bytes(raw)):
        assert allowed.is_allowed(name) or objects.is_known(name), name


@given(
    module=st.from_regex(r"[a-z_]{1,8}(\.[a-z_]{1,8}){0,2}", fullmatch=True),
    name=st.from_regex(r"[A-Za-z_]{1,10}(\.[a-z]{1,4})?", fullmatch=True),
)
@settings(max_examples=60, deadline=None)
def test_any_name_that_is_not_on_a_list_is_refused(module: str, name: str) -> None:
    listed = allowed.is_allowed(f"{module} {name}") or objects.is_known(f"{module} {name}")
    for named in (a.name(module, name), a.short_text(module) + a.short_text(name) + b"\x93"):
        assert report_of(a.torch_zip(a.proto(4) + named + a.STOP, {})).clean is listed
