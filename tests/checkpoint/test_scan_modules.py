"""The longer allow-list: whole modules pass by name, and nothing that runs code of the file's choice with them."""

from pathlib import Path

import pytest

from tests.checkpoint import assemble as a
from wherry.checkpoint import allowed_modules
from wherry.checkpoint.findings import Tier
from wherry.checkpoint.scan import ScanReport, scan

HOME = a.short_text("torch.nn.modules.linear")
KIND = a.name("torch.nn.modules.linear", "Linear")
LINEAR = KIND + a.EMPTY_TUPLE + b"\x81"
RECONSTRUCT = a.name("numpy.core.multiarray", "_reconstruct")
NOTHING = (a.EMPTY_TUPLE, a.EMPTY_DICT, a.NONE)
ONE = a.tuple_of(a.number(1))
ARRAY = RECONSTRUCT + a.tuple_of(a.name("numpy", "ndarray"), a.tuple_of(a.number(0)), b"C\x01b") + a.REDUCE
PARTIAL = a.name("functools", "partial")
RELU = a.name("torch.nn.functional", "relu")
NAMESPACE = a.name("argparse", "Namespace") + a.EMPTY_TUPLE + b"\x81"
PATH = a.name("pathlib", "PosixPath") + a.tuple_of(a.text("x")) + a.REDUCE
JOBLIB = a.name("joblib.numpy_pickle", "NumpyArrayWrapper") + a.EMPTY_TUPLE + b"\x81"


def dtype(kind: str) -> bytes:
    return a.name("numpy", "dtype") + a.tuple_of(a.text(kind), a.FALSE, b"\x88") + a.REDUCE


def table(**entries: bytes) -> bytes:
    return a.EMPTY_DICT + a.MARK + b"".join(a.text(key) + value for key, value in entries.items()) + b"u"


def wrapper(kind: str, **more: bytes) -> bytes:
    state = {"subclass": a.name("numpy", "ndarray"), "shape": a.tuple_of(a.number(2)), "dtype": dtype(kind)}
    return JOBLIB + table(**(state | {"numpy_array_alignment_bytes": a.number(16)} | more)) + a.BUILD


def report_of(body: bytes, tmp_path: Path, allow: Tier = "modules", container: str = "zip") -> ScanReport:
    stream = a.proto() + body + a.STOP
    path = tmp_path / "best.pt"
    path.write_bytes({"zip": a.torch_zip, "legacy": a.legacy, "raw": bytes}[container](stream))
    return scan(path, allow=allow)


WHOLE = {
    "module": LINEAR + table(weight=a.tensor(), training=a.FALSE) + a.BUILD,
    "module with an activation": LINEAR + table(weight=a.tensor(), act=RELU) + a.BUILD,
    "module with a partial": LINEAR
    + table(
        weight=a.tensor(),
        f=PARTIAL + a.tuple_of(RELU) + a.REDUCE + a.tuple_of(RELU, *NOTHING) + a.BUILD,
    )
    + a.BUILD,
    "weight norm": LINEAR
    + table(
        weight=a.tensor(),
        _forward_pre_hooks=a.ORDERED
        + a.number(0)
        + (a.name("torch.nn.utils.weight_norm", "WeightNorm") + a.EMPTY_TUPLE + b"\x81")
        + a.SETITEM,
    )
    + a.BUILD,
    "array": a.tuple_of(
        a.tensor(),
        ARRAY + a.tuple_of(a.number(1), ONE, dtype("f4"), a.FALSE, b"C\x04abcd") + a.BUILD,
    ),
    "arguments": a.tuple_of(
        a.tensor(), a.name("argparse", "Namespace") + a.EMPTY_TUPLE + b"\x81" + table(a=a.NONE) + a.BUILD
    ),
    "path": a.tuple_of(a.tensor(), a.name("pathlib", "PosixPath") + a.tuple_of(a.text("x")) + a.REDUCE),
}


@pytest.mark.parametrize("body", WHOLE.values(), ids=WHOLE.keys())
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_whole_objects_pass_the_longer_list_only(body: bytes, container: str, tmp_path: Path) -> None:
    assert report_of(body, tmp_path, container=container).findings == ()
    assert report_of(body, tmp_path, container=container).needs == "modules"
    plain = report_of(body, tmp_path, allow="tensors", container=container)
    assert plain.forbidden
    assert "not on the list of what tensors need" in str(plain.findings[0])


def test_plain_tensors_need_no_more_than_before(tmp_path: Path) -> None:
    assert report_of(a.ORDERED + a.text("w") + a.tensor() + a.SETITEM, tmp_path).needs == "tensors"


ATTACKS: dict[str, tuple[bytes, str]] = {
    "system": (a.name("posix", "system") + a.text("x") + a.TUPLE1 + a.REDUCE, "pickle-name"),
    "subclass of a listed module": (a.name("torch.nn.modules.linear.evil", "Linear"), "pickle-name"),
    "method of a listed class": (
        a.short_text("ultralytics.nn.modules.conv") + a.short_text("Conv.forward") + b"\x93",
        "pickle-name",
    ),
    "way through a listed module": (
        HOME + a.short_text("torch.hub.load") + b"\x93",
        "pickle-name",
    ),
    "module that imports torch": (
        HOME + a.short_text("torch") + b"\x93",
        "pickle-name",
    ),
    "graph module": (a.name("torch.fx.graph_module", "reduce_graph_module") + a.EMPTY_TUPLE + a.REDUCE, "pickle-name"),
    "hub": (a.name("torch.hub", "load") + a.EMPTY_TUPLE + a.REDUCE, "pickle-name"),
    "fetches weights": (a.name("ultralytics.nn.modules.block", "TorchVision") + a.EMPTY_TUPLE + b"\x81", "pickle-name"),
    "getattr": (a.name("builtins", "getattr") + a.EMPTY_TUPLE + a.REDUCE, "pickle-name"),
    "numpy.load": (a.name("numpy", "load") + a.EMPTY_TUPLE + a.REDUCE, "pickle-name"),
    "joblib.load": (a.name("joblib.numpy_pickle", "load") + a.EMPTY_TUPLE + a.REDUCE, "pickle-name"),
    "constructor with arguments": (
        KIND + a.tuple_of(a.number(3)) + a.REDUCE,
        "pickle-call",
    ),
    "constructor without arguments": (
        KIND + a.EMPTY_TUPLE + a.REDUCE,
        "pickle-call",
    ),
    "object with arguments": (
        KIND + a.tuple_of(a.number(3)) + b"\x81",
        "pickle-call",
    ),
    "call of a function": (RELU + a.tuple_of(a.tensor()) + a.REDUCE, "pickle-call"),
    "call of an object": (LINEAR + a.EMPTY_TUPLE + a.REDUCE, "pickle-call"),
    "object by keywords": (
        KIND + a.EMPTY_TUPLE + a.EMPTY_DICT + b"\x92",
        "pickle-opcode",
    ),
    "another class": (LINEAR + table(__class__=RELU) + a.BUILD, "pickle-state"),
    "state that is no dict": (LINEAR + a.tuple_of(a.NONE, table(forward=RELU)) + a.BUILD, "pickle-state"),
    "state by numbers": (LINEAR + a.EMPTY_DICT + a.number(1) + a.NONE + a.SETITEM + a.BUILD, "pickle-state"),
    "state of a class": (KIND + table(forward=RELU) + a.BUILD, "pickle-state"),
    "hook that is a function": (
        LINEAR + table(_forward_hooks=a.ORDERED + a.number(0) + RELU + a.SETITEM) + a.BUILD,
        "pickle-hooks",
    ),
    "hook that is a module": (
        LINEAR + table(_forward_hooks=a.EMPTY_DICT + a.number(0) + LINEAR + a.SETITEM) + a.BUILD,
        "pickle-hooks",
    ),
    "hook that is added later": (
        a.EMPTY_DICT
        + b"q\x01"
        + LINEAR
        + b"}"
        + a.text("_forward_hooks")
        + b"h\x01s"
        + a.BUILD
        + b"h\x01"
        + a.number(0)
        + RELU
        + a.SETITEM,
        "pickle-hooks",
    ),
    "attribute that is added later": (
        a.EMPTY_DICT + b"q\x01" + LINEAR + b"h\x01" + a.BUILD + b"h\x01" + a.text("__class__") + RELU + a.SETITEM,
        "pickle-state",
    ),
    "partial of a maker": (PARTIAL + a.tuple_of(a.name("numpy", "dtype")) + a.REDUCE, "pickle-arguments"),
    "state of a partial": (
        PARTIAL + a.tuple_of(RELU) + a.REDUCE + a.tuple_of(a.text("x"), a.EMPTY_TUPLE, a.EMPTY_DICT, a.NONE) + a.BUILD,
        "pickle-state",
    ),
    "items of a module": (LINEAR + a.text("x") + RELU + a.SETITEM, "pickle-state"),
    "array of another class": (
        RECONSTRUCT + a.tuple_of(KIND, a.tuple_of(a.number(0)), b"C\x01b") + a.REDUCE,
        "pickle-arguments",
    ),
    "bytes as objects": (
        ARRAY + a.tuple_of(a.number(1), ONE, dtype("O8"), a.FALSE, b"C\x08abcdefgh") + a.BUILD,
        "pickle-numpy",
    ),
    "scalar that is an object": (
        a.name("numpy.core.multiarray", "scalar") + a.tuple_of(dtype("O8"), b"C\x08abcdefgh") + a.REDUCE,
        "pickle-arguments",
    ),
    "data type that is none": (dtype("os.system"), "pickle-arguments"),
    "bytes of any length": (a.name("builtins", "bytes") + a.tuple_of(a.number(1 << 30)) + a.REDUCE, "pickle-arguments"),
    "defaults by a function": (a.name("collections", "defaultdict") + a.tuple_of(RELU) + a.REDUCE, "pickle-arguments"),
    "generator of another class": (
        a.name("numpy.random._pickle", "__bit_generator_ctor") + a.tuple_of(KIND) + a.REDUCE,
        "pickle-arguments",
    ),
    "path of a call": (a.name("pathlib", "PosixPath") + a.tuple_of(LINEAR) + a.REDUCE, "pickle-arguments"),
    "state of a path": (
        a.name("pathlib", "PosixPath")
        + a.tuple_of(a.text("x"))
        + a.REDUCE
        + a.tuple_of(a.NONE, table(x=RELU))
        + a.BUILD,
        "pickle-state",
    ),
    "attribute of a parameter": (
        a.name("torch._utils", "_rebuild_parameter_with_state")
        + a.tuple_of(a.tensor(), a.FALSE, a.ORDERED, table(__class__=RELU))
        + a.REDUCE,
        "pickle-state",
    ),
    "tensor by any function": (
        a.name("torch._tensor", "_rebuild_from_type_v2")
        + a.tuple_of(RELU, a.name("torch", "Tensor"), a.EMPTY_TUPLE, a.EMPTY_DICT)
        + a.REDUCE,
        "pickle-arguments",
    ),
    "array of joblib outside joblib": (wrapper("f4"), "pickle-joblib"),
    "integer of a megabyte": (b"\x8b" + (1 << 20).to_bytes(4, "little") + bytes(1 << 20), "pickle-limit"),
    "text of old protocols": (LINEAR + b"S'x'\n", "pickle-opcode"),
    "copied top": (LINEAR + b"2", "pickle-opcode"),
    "thrown away": (LINEAR + b"0", "pickle-opcode"),
}


@pytest.mark.parametrize(("body", "code"), ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("allow", ["tensors", "modules"])
def test_what_runs_code_is_refused_in_both_tiers(body: bytes, code: str, allow: Tier, tmp_path: Path) -> None:
    report = report_of(body, tmp_path, allow=allow)

    assert report.forbidden
    if allow == "modules":
        assert code in {finding.code for finding in report.findings}, report


def test_a_raw_pickle_passes_the_longer_list_only_and_to_its_last_stream(tmp_path: Path) -> None:
    whole = a.tuple_of(LINEAR, a.NONE)
    assert report_of(whole, tmp_path, container="raw").format == "pickle"
    assert report_of(whole, tmp_path, container="raw").clean
    assert report_of(whole, tmp_path, container="raw", allow="tensors").forbidden
    path = tmp_path / "two.pkl"
    for tail in (a.proto() + a.name("posix", "system") + a.STOP, b"\x00rubbish", a.proto()):
        path.write_bytes(a.proto() + whole + a.STOP + tail)
        assert not scan(path, allow="modules").clean


def test_arrays_of_joblib_are_passed_over_and_arrays_of_objects_followed(tmp_path: Path) -> None:
    path = tmp_path / "x.joblib"
    inner = a.proto() + a.NONE + a.STOP
    evil = a.proto() + a.name("posix", "system") + a.STOP
    cases = {
        a.proto() + wrapper("f4") + b"\x02\xff\xff" + bytes(8) + a.STOP: True,
        a.proto() + wrapper("O8") + inner + a.STOP: True,
        a.proto() + wrapper("O8") + evil + a.STOP: False,
        a.proto() + wrapper("f4") + b"\x02\xff\xff" + bytes(7): False,
        a.proto() + wrapper("f4", numpy_array_alignment_bytes=a.NONE) + bytes(8) + a.STOP: False,
        a.proto() + wrapper("f4") + b"\x40" + bytes(80) + a.STOP: False,
        a.proto() + wrapper("f4", subclass=RELU) + b"\x02\xff\xff" + bytes(8) + a.STOP: False,
    }
    for whole, clean in cases.items():
        path.write_bytes(whole)
        assert scan(path, allow="modules").clean is clean, whole


def test_a_name_that_only_a_reader_without_joblib_sees_is_refused(tmp_path: Path) -> None:
    """An inner stream has a memo of its own for joblib; for `pickle.load` it goes on with the outer one."""
    outer = a.short_text("posix") + b"\x94" + a.short_text("system") + b"\x94"
    inner = a.proto(4) + a.short_text("collections") + b"\x94" + a.short_text("OrderedDict") + b"\x94h\x00h\x01\x93)R."
    path = tmp_path / "x.joblib"
    path.write_bytes(a.proto(4) + a.MARK + outer + wrapper("O8") + inner + a.TUPLE + a.STOP)

    report = scan(path, allow="modules")

    assert "posix.system" in " ".join(map(str, report.findings))


def test_nested_shared_tuples_cost_no_more_than_their_bytes(tmp_path: Path) -> None:
    laughs = a.EMPTY_TUPLE + b"q\x01" + b"".join(b"h\x01" * 9 + b"\x87q\x01" for _ in range(200))
    path = tmp_path / "laughs.pt"
    path.write_bytes(a.torch_zip(a.proto() + a.MARK + laughs + a.TUPLE + a.STOP))
    assert scan(path, allow="modules").format == "torch-zip"


def test_the_tables_hold_exact_names_only() -> None:
    names = allowed_modules.classes() | allowed_modules.functions() | allowed_modules.compiled()
    assert len(names) > 1500
    for name in names:
        module, _, attribute = name.partition(" ")
        assert attribute.isidentifier(), name
        assert all(part.isidentifier() for part in module.split(".")), name
    acts = {"eval", "exec", "compile", "open", "getattr", "setattr", "__import__", "system", "load", "partial", "type"}
    assert {name.partition(" ")[2] for name in names} & acts == set()
