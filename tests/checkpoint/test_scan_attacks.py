"""Every way known to smuggle a call into a checkpoint is refused, by name where there is a name."""

from pathlib import Path

import pytest

from tests.checkpoint import assemble as a
from wherry.checkpoint.findings import MAX_FINDINGS
from wherry.checkpoint.opening import open_checkpoint
from wherry.checkpoint.scan import check, scan
from wherry.core.errors import NotFoundError, ScanRefusedError, StorageError

REBUILD_V3 = a.name("torch._utils", "_rebuild_tensor_v3")
RAW = (
    a.tuple_of(a.text("storage"), a.name("torch.storage", "UntypedStorage"), a.text("0"), a.text("cpu"), a.number(16))
    + b"Q"
)
FLAT = (a.number(0), a.tuple_of(a.number(2)), a.tuple_of(a.number(1)), a.FALSE, a.ORDERED)

CALLS = {
    "os.system": a.name("posix", "system") + a.text("x") + a.TUPLE1 + a.REDUCE,
    "eval": a.name("builtins", "eval") + a.text("1") + a.TUPLE1 + a.REDUCE,
    "exec in python 2's words": a.name("__builtin__", "exec") + a.text("1") + a.TUPLE1 + a.REDUCE,
    "getattr": a.name("builtins", "getattr") + a.EMPTY_TUPLE + a.REDUCE,
    "subprocess": a.name("subprocess", "Popen") + a.EMPTY_TUPLE + a.REDUCE,
    "runpy": a.name("runpy", "run_path") + a.text("x") + a.TUPLE1 + a.REDUCE,
    "pty": a.name("pty", "spawn") + a.text("x") + a.TUPLE1 + a.REDUCE,
    "marshal": a.name("marshal", "loads") + a.EMPTY_TUPLE + a.REDUCE,
    "ctypes": a.name("ctypes", "CDLL") + a.text("x") + a.TUPLE1 + a.REDUCE,
    "importlib": a.name("importlib", "import_module") + a.text("os") + a.TUPLE1 + a.REDUCE,
    "methodcaller": a.name("operator", "methodcaller") + a.text("system") + a.TUPLE1 + a.REDUCE,
    "torch.load": a.name("torch", "load") + a.text("x") + a.TUPLE1 + a.REDUCE,
    "torch.hub": a.name("torch.hub", "load") + a.text("x") + a.TUPLE1 + a.REDUCE,
    "rebuild from type": a.name("torch._tensor", "_rebuild_from_type_v2") + a.EMPTY_TUPLE + a.REDUCE,
    "dotted attribute": a.name("torch", "serialization.os.system") + a.EMPTY_TUPLE + a.REDUCE,
    "allowed name in another module": a.name("evil", "OrderedDict") + a.EMPTY_TUPLE + a.REDUCE,
    "prefix of an allowed module": a.name("torch._utils.x", "_rebuild_tensor_v2") + a.EMPTY_TUPLE + a.REDUCE,
    "a name alone": a.name("os", "system"),
    "stack global": a.short_text("os") + a.short_text("system") + b"\x93" + a.EMPTY_TUPLE + a.REDUCE,
    "stack global from a call": a.ORDERED + a.short_text("system") + b"\x93" + a.EMPTY_TUPLE + a.REDUCE,
    "stack global with a space": a.short_text("collections OrderedDict") + a.short_text("x") + b"\x93",
    "stack global through the memo": a.short_text("os")
    + b"q\x05"
    + a.short_text("system")
    + b"q\x06"
    + b"h\x05h\x06\x93",
    "inst": a.MARK + a.text("x") + b"iposix\nsystem\n",
    "obj": a.MARK + a.name("posix", "system") + a.text("x") + b"o",
    "newobj": a.name("subprocess", "Popen") + a.EMPTY_TUPLE + b"\x81",
    "newobj_ex": a.name("subprocess", "Popen") + a.EMPTY_TUPLE + a.EMPTY_DICT + b"\x92",
    "extension registry": b"\x82\x01" + a.EMPTY_TUPLE + a.REDUCE,
    "extension registry, wide": b"\x84\x01\x00\x00\x00",
    "call of a call": a.ORDERED + a.EMPTY_TUPLE + a.REDUCE,
    "call of a storage class": a.name("torch", "FloatStorage") + a.EMPTY_TUPLE + a.REDUCE,
    "call of a text": a.text("os.system") + a.EMPTY_TUPLE + a.REDUCE,
    "persistent id by text": b"P0\n",
    "persistent id of a module": a.tuple_of(a.text("module"), a.name("torch", "FloatStorage")) + b"Q",
    "storage of an unknown class": a.tuple_of(*[a.text("storage")] * 5) + b"Q",
    "popped evidence": a.name("posix", "system") + a.text("x") + a.TUPLE1 + a.REDUCE + b"0" + a.NONE,
    "duplicated": a.NONE + b"2",
    "state of a tensor": a.tensor() + a.EMPTY_DICT + a.BUILD,
    "state of an OrderedDict": a.ORDERED + a.EMPTY_DICT + a.text("x") + a.NONE + a.SETITEM + a.BUILD,
    "append to a dict": a.EMPTY_DICT + a.NONE + b"a",
    "set an item of a list": b"]" + a.text("k") + a.NONE + a.SETITEM,
    "tuple of tuples as a key": a.EMPTY_DICT + a.NONE + a.TUPLE1 + a.TUPLE1 + a.NONE + a.SETITEM,
    "hooks of a tensor": a.name("torch._utils", "_rebuild_tensor_v2")
    + a.tuple_of(a.storage(), a.number(0), *[a.tuple_of(a.number(4))] * 2, a.FALSE, a.text("hooks"))
    + a.REDUCE,
    "tensor of no storage": a.name("torch._utils", "_rebuild_tensor_v2") + a.tuple_of(*[a.NONE] * 6) + a.REDUCE,
    "hooks of a parameter": a.name("torch._utils", "_rebuild_parameter")
    + a.tuple_of(a.tensor(), a.FALSE, a.EMPTY_DICT)
    + a.REDUCE,
    "any codec": a.name("_codecs", "encode") + a.tuple_of(a.text("x"), a.text("zip")) + a.REDUCE,
    "bytearray of a number": a.name("builtins", "bytearray") + a.tuple_of(a.number(1 << 30)) + a.REDUCE,
    "set of a dict": a.name("builtins", "set") + a.tuple_of(a.EMPTY_DICT) + a.REDUCE,
    "huge memo place": a.NONE + b"r\xff\xff\xff\x7f",
    "view of a storage": a.tensor(tail=a.tuple_of(a.text("v"))),
    "frame inside a frame": b"\x95" + bytes([30] + [0] * 7) + b"\x95" + bytes([1] + [0] * 7) + a.NONE,
    "opcode across a frame": b"\x95" + bytes([2] + [0] * 7) + a.text("abcdef"),
    "buffer from outside": b"\x97",
    "made from a list": a.name("collections", "OrderedDict") + a.tuple_of(b"]") + a.REDUCE,
    "parameter of nothing": a.name("torch._utils", "_rebuild_parameter") + a.EMPTY_TUPLE + a.REDUCE,
    "tensor of an unknown type": REBUILD_V3 + a.tuple_of(RAW, *FLAT, a.text("float32")) + a.REDUCE,
    "state of a forbidden thing": a.name("evil", "x") + a.EMPTY_TUPLE + a.REDUCE + a.EMPTY_DICT + a.BUILD,
    "items of a forbidden thing": a.name("evil", "x") + a.NONE + a.NONE + a.SETITEM,
    "item behind a forbidden thing": a.name("evil", "x") + a.NONE + b"a",
    "forbidden thing as a key": a.EMPTY_DICT + a.name("evil", "x") + a.NONE + a.SETITEM,
    "long integer in text": b"L1L\n",
}


@pytest.mark.parametrize("body", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("container", ["zip", "legacy", "raw"])
def test_a_stream_that_does_more_than_tensors_is_refused(body: bytes, container: str, tmp_path: Path) -> None:
    stream = a.proto() + body + a.STOP
    whole = {"zip": a.torch_zip, "legacy": a.legacy, "raw": bytes}[container](stream)
    path = tmp_path / "innocent.safetensors"
    path.write_bytes(whole)

    report = scan(path)

    assert report.forbidden, report
    with pytest.raises(ScanRefusedError) as refusal:
        check(path)
    assert refusal.value.exit_code == 3
    assert str(path) in refusal.value.message


def test_the_report_names_what_was_refused_and_nothing_is_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "x.pt"
    path.write_bytes(
        a.torch_zip(a.proto() + a.name("posix", "mkdir") + a.text(str(canary)) + a.TUPLE1 + a.REDUCE + a.STOP)
    )

    report = scan(path)

    assert [finding.what for finding in report.findings] == [
        "It names posix.mkdir, which is not on the list of what tensors need."
    ]
    assert report.findings[0].where == "m/data.pkl"
    assert not canary.exists()


def test_a_forbidden_name_is_found_even_if_the_stream_breaks_off_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(a.proto() + a.name("posix", "system") + a.text("x") + a.TUPLE1 + a.REDUCE)

    report = scan(path)

    assert {finding.kind for finding in report.findings} == {"forbidden", "damaged"}


def test_a_second_stream_behind_the_first_is_read(tmp_path: Path) -> None:
    second = a.proto() + a.name("posix", "system") + a.EMPTY_TUPLE + a.REDUCE + a.STOP
    for whole in (
        a.proto() + a.NONE + a.STOP + second,
        a.torch_zip(a.state_dict(a.tensor()) + second),
        a.legacy(a.state_dict(a.tensor())) + second,
    ):
        path = tmp_path / "x.pt"
        path.write_bytes(whole)
        assert scan(path).forbidden


def test_many_findings_are_counted_and_not_all_told(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    names = b"".join(a.name("evil", f"f{index}") for index in range(100))
    path.write_bytes(a.torch_zip(a.proto() + names + a.STOP))

    with pytest.raises(ScanRefusedError, match=f"{MAX_FINDINGS - 3} more findings"):
        check(path)


@pytest.mark.parametrize(
    "stream",
    [
        a.state_dict(a.tensor()),
        a.state_dict(a.tensor(), a.tensor(shape=(2, 2), stride=(2, 1))),
        a.state_dict(a.tensor(shape=(0, 9), stride=(9, 1))),
        a.state_dict(
            a.name("torch._utils", "_rebuild_parameter") + a.tuple_of(a.tensor(), a.FALSE, a.ORDERED) + a.REDUCE
        ),
        a.state_dict(a.tensor(), a.name("builtins", "bytearray") + a.tuple_of(b"C" + b"\x01x") + a.REDUCE),
        a.state_dict(a.tensor(), a.name("torch", "Size") + a.tuple_of(a.tuple_of(a.number(3))) + a.REDUCE),
        a.state_dict(a.tensor(), a.name("torch", "float16")),
        a.state_dict(a.tensor(), a.name("torch", "device") + a.tuple_of(a.text("cuda"), a.number(0)) + a.REDUCE),
        a.state_dict(a.tensor(), a.name("_codecs", "encode") + a.tuple_of(a.text("é"), a.text("latin1")) + a.REDUCE),
        a.state_dict(a.tensor(), a.name("__builtin__", "set") + a.tuple_of(b"]" + a.number(3) + b"a") + a.REDUCE),
        a.state_dict(a.tensor(), a.name("collections", "Counter") + a.tuple_of(a.EMPTY_DICT) + a.REDUCE),
        a.state_dict(a.tensor(), a.name("builtins", "complex") + a.tuple_of(*[b"G" + bytes(8)] * 2) + a.REDUCE),
        a.state_dict(
            a.tensor(), a.short_text("collections") + a.short_text("OrderedDict") + b"\x93" + a.EMPTY_TUPLE + a.REDUCE
        ),
        a.state_dict(a.tensor(), a.short_text("x") + b"\x94" + b"h\x00" + b"\x86"),
        a.state_dict(a.tensor(), a.ORDERED + a.EMPTY_DICT + a.text("_metadata") + a.ORDERED + a.SETITEM + a.BUILD),
        a.state_dict(a.tensor(), b"]" + a.MARK + a.NONE + a.FALSE + b"\x88" + b"e", a.NONE + a.NONE + b"\x86"),
    ],
)
def test_what_torch_writes_for_a_state_dict_is_clean(stream: bytes, tmp_path: Path) -> None:
    for whole, kind in ((a.torch_zip(stream), "torch-zip"), (a.legacy(stream), "torch-legacy")):
        path = tmp_path / "evil.exe"
        path.write_bytes(whole)
        report = check(path)
        assert (report.format, report.findings, report.size) == (kind, (), len(whole))


def test_a_tensor_over_raw_bytes_is_clean_as_long_as_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for kind, clean in (("uint64", True), ("complex128", False)):
        made = REBUILD_V3 + a.tuple_of(RAW, *FLAT, a.name("torch", kind)) + a.REDUCE
        path.write_bytes(a.torch_zip(a.state_dict(made)))
        assert scan(path).clean is clean


DAMAGED = {
    "empty": b"",
    "text": b"import os\nprint('not a checkpoint')\n",
    "prose": b"Call me Ishmael. Some years ago, never mind how long precisely",
    "image": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "zeros": bytes(1000),
    "zip of something else": a.archive({"a/b.txt": b"hello"}),
    "tar": bytes(257) + b"ustar\x0000" + bytes(300),
    "pickle of a number": a.proto() + a.number(7) + a.STOP,
    "pickle without an end": a.proto() + a.NONE,
    "tuple of too little": a.torch_zip(a.proto() + a.TUPLE1 + a.STOP),
    "mark for a value": a.torch_zip(a.proto() + a.MARK + a.TUPLE1 + a.STOP),
    "mark on top": a.torch_zip(a.proto() + a.EMPTY_DICT + a.MARK + a.NONE + a.SETITEM + a.STOP),
    "build on nothing": a.torch_zip(a.proto() + a.NONE + a.BUILD + a.STOP),
    "mark that was not set": a.torch_zip(a.proto() + a.TUPLE + a.STOP),
    "memo that was not written": a.torch_zip(a.proto() + b"h\x07" + a.STOP),
    "result that is missing": a.torch_zip(a.proto() + a.STOP),
    "odd items": a.torch_zip(a.proto() + a.EMPTY_DICT + a.MARK + a.NONE + b"u" + a.STOP),
    "arguments that are no tuple": a.torch_zip(a.proto() + a.name("torch", "Size") + a.NONE + a.REDUCE + a.STOP),
    "tensor beyond its storage": a.torch_zip(a.state_dict(a.tensor(shape=(5,)))),
    "offset beyond the storage": a.torch_zip(a.state_dict(a.tensor(offset=1))),
    "shape and stride differ": a.torch_zip(a.state_dict(a.tensor(shape=(2, 2)))),
    "storage of two sizes": a.torch_zip(a.state_dict(a.tensor(), a.tensor(elements=5))),
    "storage that is missing": a.torch_zip(a.state_dict(a.tensor(key="1"))),
    "storage that is short": a.torch_zip(a.state_dict(a.tensor()), {"0": bytes(15)}),
    "storage without a size": a.torch_zip(a.state_dict(a.storage(elements=1 << 70))),
    "value under a mark": a.torch_zip(a.proto() + a.EMPTY_DICT + a.MARK + a.BUILD + a.STOP),
    "storage key that is a number": a.torch_zip(
        a.state_dict(a.tuple_of(a.text("storage"), a.name("torch", "FloatStorage"), *[a.number(1)] * 3) + b"Q")
    ),
    "legacy, big-endian": a.proto()
    + a.number(a.MAGIC)
    + a.STOP
    + a.proto()
    + b"M\xe9\x03."
    + a.proto()
    + a.EMPTY_DICT
    + a.STOP,
    "legacy, wrong protocol": a.proto() + a.number(a.MAGIC) + a.STOP + a.proto() + a.number(7) + a.STOP,
    "legacy, wrong keys": a.legacy(a.state_dict(a.tensor()), keys=("1",)),
    "legacy, truncated": a.legacy(a.state_dict(a.tensor()))[:-1],
    "legacy, other size": a.legacy(a.state_dict(a.tensor()), raw=bytes(24)),
}


@pytest.mark.parametrize("whole", DAMAGED.values(), ids=DAMAGED.keys())
def test_what_is_no_checkpoint_is_refused_as_damaged_and_not_as_hostile(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(whole)

    report = scan(path)

    assert report.verdict == "refused"
    assert not report.forbidden, report
    with pytest.raises(ScanRefusedError):
        check(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not a file"):
        scan(tmp_path / "nothing.pt")


def test_a_stream_of_endless_opcodes_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.checkpoint.pickles.MAX_OPCODES", 100)
    path = tmp_path / "x.pt"
    path.write_bytes(a.torch_zip(a.proto() + a.NONE * 200 + a.STOP))

    with pytest.raises(ScanRefusedError, match="longer than"):
        check(path)


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    path = tmp_path / "x.pt"
    path.write_bytes(b"x")
    monkeypatch.setattr(Path, "open", fails)

    with pytest.raises(StorageError, match="Input/output error"):
        scan(path)
    with pytest.raises(StorageError, match="Input/output error"):
        open_checkpoint(path)
