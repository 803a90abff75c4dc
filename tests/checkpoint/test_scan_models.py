"""Formats that are no pickle: each way known to make them reach beyond themselves is refused, with its reason."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from tests.checkpoint import assemble as a
from tests.checkpoint import messages as m
from wherry.checkpoint.scan import scan

LAMBDA = {
    "class_name": "Sequential",
    "config": {"layers": [{"class_name": "Lambda", "config": {"function": ["4wEA"]}}]},
}


def keras(config: object) -> bytes:
    return a.archive({"config.json": json.dumps(config).encode(), "metadata.json": b"{}"})


def keras_layer(**entries: object) -> bytes:
    layer = {"class_name": "Dense", "module": "keras.layers", "config": {}, "registered_name": None} | entries
    return keras({"class_name": "Functional", "module": "keras", "config": {"layers": [layer]}})


def hdf5(config: object) -> bytes:
    return b"\x89HDF\r\n\x1a\n" + bytes(2_000_000) + json.dumps(config).encode() + bytes(100)


def skops(**entries: object) -> bytes:
    schema = {"__class__": "SVC", "__module__": "sklearn.svm._classes", "__loader__": "ObjectNode", "content": entries}
    return a.archive({"schema.json": json.dumps(schema).encode()})


def npy(header: str, data: bytes = b"") -> bytes:
    raw = header.encode()
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + data


def appended(whole: bytes) -> bytes:
    buffer = io.BytesIO(whole)
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr("m/data.pkl", b"x")
    return buffer.getvalue()


OBJECTS = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
FLOATS = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n"
EVIL = a.proto() + a.name("posix", "system") + a.text("x") + a.TUPLE1 + a.REDUCE + a.STOP
NODE = m.onnx_node("Relu")
SUBGRAPH = m.field(6, m.field(5, m.onnx_tensor("../x")))
LAUGHS = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><net><layers>&b;</layers></net>'
NET = '<?xml version="1.0"?><net name="m"><layers><layer id="0" type="{}" version="{}"/></layers></net>'
MANIFEST = {"itemInfoEntries": {"1": {"path": "{}"}}, "rootModelIdentifier": "1"}
TEXT_MODEL = b'saved_model_schema_version: 1\nmeta_graphs { graph_def { node { name: "x" op: "%s" } } }\n'


def manifest(path: object) -> bytes:
    return json.dumps(MANIFEST | {"itemInfoEntries": {"1": {"path": path}}}).encode()


def index(name: str) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": {"w": name}}).encode()


def blob(name: str) -> bytes:
    return m.coreml(502, m.field(2, m.field(5, m.field(1, name) + m.field(2, 64))))


ATTACKS: dict[str, tuple[bytes, str, str]] = {
    "onnx: weights above": (m.onnx(NODE, tensors=(m.onnx_tensor("../../etc/passwd"),)), "onnx", "outside-path"),
    "onnx: weights at the root": (m.onnx(NODE, tensors=(m.onnx_tensor("/etc/passwd"),)), "onnx", "outside-path"),
    "onnx: weights on a drive": (m.onnx(NODE, tensors=(m.onnx_tensor("C:\\x"),)), "onnx", "outside-path"),
    "onnx: weights behind backslashes": (m.onnx(tensors=(m.onnx_tensor("a\\..\\..\\x"),)), "onnx", "outside-path"),
    "onnx: weights of a service": (m.onnx(tensors=(m.onnx_tensor("http://x/y"),)), "onnx", "outside-path"),
    "onnx: weights of an attribute": (
        m.onnx(m.onnx_node("If", attribute=m.field(5, m.onnx_tensor("../x")))),
        "onnx",
        "outside-path",
    ),
    "onnx: weights of a graph in a graph": (m.onnx(m.onnx_node("If", attribute=SUBGRAPH)), "onnx", "outside-path"),
    "onnx: sparse weights": (m.onnx(NODE, more=m.field(15, m.field(1, m.onnx_tensor("../x")))), "onnx", "outside-path"),
    "onnx: weights of a function": (
        m.onnx(NODE) + m.field(25, m.field(7, m.onnx_node("X", attribute=m.field(5, m.onnx_tensor("../x"))))),
        "onnx",
        "outside-path",
    ),
    "onnx: weights of training": (
        m.onnx(NODE) + m.field(20, m.field(1, m.field(5, m.onnx_tensor("../x")))),
        "onnx",
        "outside-path",
    ),
    "onnx: python": (m.onnx(m.onnx_node("PyOp", "ai.onnx.contrib")), "onnx", "onnx-operator"),
    "onnx: python of a runtime": (m.onnx(m.onnx_node("PythonOp", "com.microsoft")), "onnx", "onnx-operator"),
    "onnx: compiled part": (m.onnx(m.onnx_node("EPContext", "com.microsoft")), "onnx", "onnx-operator"),
    "onnx: an archive behind it": (appended(m.onnx(NODE)), "onnx", "protobuf"),
    "tensorflow: reads a file": (m.saved_model("ReadFile"), "tensorflow", "tensorflow-operator"),
    "tensorflow: writes a file": (m.saved_model("Const", "WriteFile"), "tensorflow", "tensorflow-operator"),
    "tensorflow: python": (m.saved_model("EagerPyFunc"), "tensorflow", "tensorflow-operator"),
    "tensorflow: python in a function": (
        m.saved_model("Const", library=("PyFuncStateless",)),
        "tensorflow",
        "tensorflow-operator",
    ),
    "tensorflow: frozen graph": (m.graph_def("Const", "PyFunc"), "tensorflow-graph", "tensorflow-operator"),
    "tensorflow: in text": (TEXT_MODEL % b"MatchingFiles", "tensorflow", "tensorflow-operator"),
    "coreml: custom model": (m.coreml(555, m.field(10, "Evil")), "coreml", "coreml-custom"),
    "coreml: linked model": (m.coreml(556, m.field(1, b"")), "coreml", "coreml-custom"),
    "coreml: custom layer": (m.coreml(500, m.field(1, m.field(1, "l") + m.field(500, b""))), "coreml", "coreml-custom"),
    "coreml: weights above": (blob("@model_path/../../x"), "coreml", "outside-path"),
    "coreml: weights at the root": (blob("/etc/passwd"), "coreml", "outside-path"),
    "coreml: package above": (manifest("../x"), "coreml-package", "outside-path"),
    "coreml: package at the root": (manifest("/etc/passwd"), "coreml-package", "outside-path"),
    "openvino: entities": (LAUGHS.encode(), "openvino", "xml-entity"),
    "openvino: file as an entity": (
        b'<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net>&x;</net>',
        "openvino",
        "xml-entity",
    ),
    "openvino: entities in UTF-16": (
        LAUGHS.replace("?>", ' encoding="UTF-16"?>').encode("utf-16"),
        "unknown",
        "not-a-model",
    ),
    "openvino: custom operation": (NET.format("Evil", "extension").encode(), "openvino", "openvino-custom"),
    "tflite: custom operator": (m.tflite("Evil"), "tflite", "tflite-custom"),
    "tflite: reads a file": (m.tflite("FlexReadFile"), "tflite", "tensorflow-operator"),
    "tflite: python": (m.tflite("FlexEagerPyFunc"), "tflite", "tensorflow-operator"),
    "tflite: an archive behind it": (appended(m.tflite()), "tflite", "appended-archive"),
    "executorch: reads a file": (m.executorch("aten::from_file"), "executorch", "executorch-operator"),
    "executorch: operator of a library": (m.executorch("evil::run"), "executorch", "executorch-operator"),
    "keras: lambda": (keras(LAMBDA), "keras", "keras-lambda"),
    "keras: another module": (keras_layer(module="os"), "keras", "keras-name"),
    "keras: a function": (keras_layer(module="builtins", class_name="function"), "keras", "keras-name"),
    "keras: registered elsewhere": (keras_layer(registered_name="evil>Layer"), "keras", "keras-name"),
    "keras: saved model as a layer": (keras_layer(class_name="TFSMLayer"), "keras", "keras-lambda"),
    "keras: another member": (
        a.archive({"config.json": b"{}", "metadata.json": b"{}", "x.py": b"import os"}),
        "keras",
        "zip-member",
    ),
    "keras: lambda in HDF5": (hdf5(LAMBDA), "keras", "keras-lambda"),
    "keras: module in HDF5": (hdf5({"class_name": "Dense", "module": "os"}), "keras", "keras-name"),
    "keras: lambda in JSON": (json.dumps(LAMBDA).encode(), "keras", "keras-lambda"),
    "skops: system": (
        skops(x={"__class__": "system", "__module__": "os", "__loader__": "TypeNode"}),
        "skops",
        "skops-name",
    ),
    "skops: method": (
        skops(x={"__class__": "SVC", "__module__": "sklearn.svm._classes", "__loader__": "MethodNode"}),
        "skops",
        "skops-loader",
    ),
    "skops: numpy.load": (
        skops(x={"__class__": "load", "__module__": "numpy", "__loader__": "FunctionNode"}),
        "skops",
        "skops-name",
    ),
    "numpy: objects that call": (npy(OBJECTS, EVIL), "numpy", "pickle-name"),
    "numpy: bytes behind": (npy(FLOATS, bytes(8) + EVIL), "numpy", "numpy-tail"),
    "numpy: truncated": (npy(FLOATS, bytes(7)), "numpy", "truncated"),
    "numpy: header that is code": (npy("__import__('os').system('x')\n"), "numpy", "numpy-header"),
    "safetensors: index above": (index("../x.safetensors"), "json", "outside-path"),
    "safetensors: index at the root": (index("/x.safetensors"), "json", "outside-path"),
    "safetensors: index of hidden files": (index(".x.safetensors"), "json", "outside-path"),
}


@pytest.mark.parametrize(("whole", "kind", "code"), ATTACKS.values(), ids=ATTACKS.keys())
def test_what_reaches_beyond_its_file_is_refused_with_the_reason(
    whole: bytes, kind: str, code: str, tmp_path: Path
) -> None:
    path = tmp_path / "innocent.txt"
    path.write_bytes(whole)

    report = scan(path, allow="modules")

    assert report.verdict == "refused"
    assert (report.format, report.findings[0].code) == (kind, code), report
    assert report.findings[0].what.endswith(".")


HONEST: dict[str, tuple[bytes, str]] = {
    "onnx": (m.onnx(NODE, tensors=(m.onnx_tensor("m.onnx.data"),)), "onnx"),
    "onnx with its own operators": (m.onnx(m.onnx_node("X", "own")) + m.field(25, m.field(10, "own")), "onnx"),
    "saved model": (m.saved_model("Const", "MatMul", library=("Relu",)), "tensorflow"),
    "saved model in text": (TEXT_MODEL % b"MatMul", "tensorflow"),
    "frozen graph": (m.graph_def("Placeholder", "MatMul"), "tensorflow-graph"),
    "coreml": (blob("@model_path/weights/weight.bin"), "coreml"),
    "coreml network": (m.coreml(500, m.field(1, m.field(1, "l") + m.field(100, b""))), "coreml"),
    "coreml package": (manifest("com.apple.CoreML/model.mlmodel"), "coreml-package"),
    "openvino": (NET.format("Relu", "opset1").encode(), "openvino"),
    "tflite": (m.tflite(), "tflite"),
    "tflite with detections": (m.tflite("TFLite_Detection_PostProcess"), "tflite"),
    "executorch": (m.executorch("aten::add"), "executorch"),
    "keras": (keras_layer(), "keras"),
    "keras in HDF5": (hdf5({"class_name": "Dense", "module": "keras.layers"}), "keras"),
    "HDF5 of weights": (b"\x89HDF\r\n\x1a\n" + bytes(100), "hdf5"),
    "skops": (skops(), "skops"),
    "numpy": (npy(FLOATS, bytes(8)), "numpy"),
    "numpy archive": (a.archive({"a.npy": npy(FLOATS, bytes(8))}), "numpy"),
    "safetensors index": (index("model-00001-of-00002.safetensors"), "safetensors-index"),
}


@pytest.mark.parametrize(("whole", "kind"), HONEST.values(), ids=HONEST.keys())
def test_what_stays_in_its_file_is_clean_and_named(whole: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.exe"
    path.write_bytes(whole)

    report = scan(path)

    assert (report.verdict, report.format, report.needs) == ("clean", kind, "tensors"), report


def test_operators_of_a_library_are_a_warning_in_onnx_and_tflite(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for whole, code in ((m.onnx(m.onnx_node("X", "com.acme")), "onnx-custom"), (m.tflite("FlexErf"), "tflite-flex")):
        path.write_bytes(whole)
        report = scan(path)
        assert report.clean
        assert [(finding.kind, finding.code) for finding in report.findings] == [("warning", code)]


@pytest.mark.parametrize("kind", HONEST)
def test_no_prefix_of_a_declared_format_crashes_the_scan(kind: str, tmp_path: Path) -> None:
    whole = HONEST[kind][0]
    path = tmp_path / "cut"
    for length in {*range(0, min(len(whole), 200), 3), len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert all(finding.code != "unparsed" for finding in scan(path, allow="modules").findings)
