"""safetensors headers, captured programs and size expressions, good and bad."""

import json
from pathlib import Path

import pytest

from tests.checkpoint import assemble as a
from wherry.checkpoint.expressions import is_plain
from wherry.checkpoint.scan import scan

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

SAFETENSORS = {
    "one tensor": (a.safetensors({"w": F32}, bytes(8)), True),
    "metadata": (a.safetensors({"__metadata__": {"classes": "10"}, "w": F32}, bytes(8)), True),
    "two in any order": (
        a.safetensors({"b": {"dtype": "U8", "shape": [], "data_offsets": [8, 9]}, "a": F32}, bytes(9)),
        True,
    ),
    "empty tensor": (a.safetensors({"w": {"dtype": "I64", "shape": [0, 3], "data_offsets": [0, 0]}}), True),
    "overlap": (a.safetensors({"a": F32, "b": F32 | {"data_offsets": [4, 12]}}, bytes(12)), False),
    "gap": (a.safetensors({"a": F32, "b": F32 | {"data_offsets": [9, 17]}}, bytes(17)), False),
    "beyond the end": (a.safetensors({"a": F32}, bytes(7)), False),
    "bytes behind": (a.safetensors({"a": F32}, bytes(9)), False),
    "length of another shape": (a.safetensors({"a": F32 | {"shape": [3]}}, bytes(8)), False),
    "negative shape": (a.safetensors({"a": F32 | {"shape": [-1, -2]}}, bytes(8)), False),
    "shape that overflows": (a.safetensors({"a": F32 | {"shape": [2**32, 2**32]}}, bytes(8)), False),
    "flag for a size": (
        a.safetensors({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, bytes(1)),
        False,
    ),
    "unknown type": (a.safetensors({"a": F32 | {"dtype": "F31"}}, bytes(8)), False),
    "unknown field": (a.safetensors({"a": F32 | {"code": "x"}}, bytes(8)), False),
    "entry that is a list": (a.safetensors({"a": [1]}, bytes(8)), False),
    "metadata that is not text": (a.safetensors({"__metadata__": {"x": 1}, "a": F32}, bytes(8)), False),
    "two entries of one name": (
        a.safetensors(f'{{"a": {json.dumps(F32)}, "a": {json.dumps(F32)}}}'.encode(), bytes(8)),
        False,
    ),
    "list for a header": (a.safetensors(b"{}"[:1] + b'"a":1}', b""), False),
    "no JSON": (a.safetensors(b"{nonsense}", bytes(8)), False),
    "not UTF-8": (a.safetensors(b'{"\xff": 1}', bytes(8)), False),
    "deep JSON": (a.safetensors(b'{"a":' + b"[" * 100_000), False),
    "huge header": ((40 << 20).to_bytes(8, "little") + b"{" + bytes(100), False),
    "header beyond the end": ((400).to_bytes(8, "little") + b"{" + bytes(100), False),
}


@pytest.mark.parametrize(("whole", "clean"), SAFETENSORS.values(), ids=SAFETENSORS.keys())
def test_safetensors_account_for_every_byte(whole: bytes, clean: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(whole)

    report = scan(path)

    assert report.format == "safetensors"
    assert report.clean is clean, report


def node(target: str) -> dict[str, object]:
    return {"guards_code": [], "graph_module": {"graph": {"nodes": [{"target": target, "inputs": [], "outputs": []}]}}}


def expression(text: object) -> dict[str, object]:
    return {"graph_module": {"x": [{"as_expr": {"expr_str": text}}]}}


PAYLOAD = b'{"config": {"w": {"use_pickle": %s, "path_name": "%s"}}}'
EVIL_PICKLE = a.torch_zip(a.proto() + a.name("posix", "system") + a.text("x") + a.TUPLE1 + a.REDUCE + a.STOP)
PT2 = {
    "empty graph": (a.pt2(), True),
    "an operator": (a.pt2(node("torch.ops.aten.conv2d.default")), True),
    "arithmetic": (a.pt2(node("_operator.mul")), True),
    "a symbolic size": (a.pt2(expression("Mul(Integer(2), Symbol('s6', positive=True, integer=True))")), True),
    "a guard": (a.pt2({"guards_code": ["(L['image'].size()[2] % 4) == 0"]}), True),
    "sample inputs": (a.pt2(extra={"a/data/sample_inputs/model.pt": a.torch_zip(a.state_dict(a.tensor()))}), True),
    "extra files": (a.pt2(extra={"a/extra/facts.json": b"{}"}), True),
    "an operator that writes files": (a.pt2(node("torch.ops.aten.save.default")), False),
    "an operator that opens files": (a.pt2(node("torch.ops.aten.from_file.default")), False),
    "a function of torch": (a.pt2(node("torch.hub.load")), False),
    "a path through operators": (a.pt2(node("torch.ops.aten.add.default.__globals__")), False),
    "operators from elsewhere": (a.pt2(node("torch.ops.evil.run")), False),
    "an extension": (a.pt2(node("#evil:run")), False),
    "any callable": (a.pt2(node("_operator.methodcaller")), False),
    "an expression that calls": (a.pt2(expression("__import__('os').system('x')")), False),
    "an expression that is no text": (a.pt2(expression(["x"])), False),
    "a guard that calls": (a.pt2({"guards_code": ["print(L['image'])"]}), False),
    "an enum": (a.pt2({"graph_module": [{"__enum__": True, "fqn": "evil:X"}]}), False),
    "an enum inside a text": (a.pt2({"graph_module": [{"in_spec": '{"__enum__": true}'}]}), False),
    "sample inputs that call": (a.pt2(extra={"a/data/sample_inputs/model.pt": EVIL_PICKLE}), False),
    "sample inputs that are none": (a.pt2(extra={"a/data/sample_inputs/model.pt": b"x"}), False),
    "native code": (a.pt2(extra={"a/data/aotinductor/model/x.so": b"\x7fELF"}), False),
    "a script object": (a.pt2(extra={"a/data/constants/custom_obj_0": b"x"}), False),
    "an unknown member": (a.pt2(extra={"a/run.py": b""}), False),
    "two folders": (a.pt2(extra={"b/extra/x": b""}), False),
    "another format": (a.archive({"a/archive_format": b"pt3"}), False),
    "no graph": (a.archive({"a/archive_format": b"pt2"}), False),
    "a graph that is no object": (a.pt2(["x"]), False),
    "a graph that is no JSON": (a.archive({"a/archive_format": b"pt2", "a/models/model.json": b"{"}), False),
    "pickled weights": (
        a.pt2(extra={"a/data/weights/x_weights_config.json": PAYLOAD % (b"true", b"weight_0")}),
        False,
    ),
    "weights elsewhere": (
        a.pt2(extra={"a/data/weights/x_weights_config.json": PAYLOAD % (b"false", b"../x")}),
        False,
    ),
    "no list of weights": (a.pt2(extra={"a/data/weights/x_weights_config.json": b"[]"}), False),
}


@pytest.mark.parametrize(("whole", "clean"), PT2.values(), ids=PT2.keys())
def test_a_captured_program_holds_a_graph_of_tensors_and_nothing_else(
    whole: bytes, clean: bool, tmp_path: Path
) -> None:
    path = tmp_path / "program.txt"
    path.write_bytes(whole)

    report = scan(path)

    assert report.format == "pt2"
    assert report.clean is clean, report


def test_members_that_torch_save_does_not_write_are_refused(tmp_path: Path) -> None:
    stream = a.state_dict(a.tensor())
    for whole in (
        a.torch_zip(stream, extra={"m/code/__torch__.py": b"def f(): ..."}),
        a.torch_zip(stream, extra={"m/other.pkl": stream}),
        a.torch_zip(stream, extra={"n/data.pkl": stream}),
        a.torch_zip(stream, {"0": bytes(16), "1": bytes(4)}),
    ):
        path = tmp_path / "x.pt"
        path.write_bytes(whole)
        assert scan(path).forbidden


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("s77 + 2*s6 >= 3", True),
        ("Max(1, FloorDiv(s0, 2))", True),
        ("L['x']['k'].size()[1] == 3", True),
        ("math.floor(s0)", False),
        ("L['x'].__class__", False),
        ("L['x'].data_ptr()", False),
        ("[x for x in L]", False),
        ("lambda: 0", False),
        ("open('x')", False),
        ("L['x y; z']", False),
        ("(Max)(1)(2)", False),
        ("s0 +", False),
        ("(" * 500 + ")" * 500, False),
        ("1" * 30_000, False),
    ],
)
def test_only_arithmetic_on_sizes_is_plain(text: str, plain: bool) -> None:
    assert is_plain(text) is plain
