"""No false alarm: what the libraries themselves write passes, in the tier that its content needs."""

import argparse
import collections
import datetime as dt
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wherry.checkpoint.scan import ScanReport, scan
from wherry.checkpoint.tree import scan_tree

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("YOLO_OFFLINE", "true")


def small() -> Any:
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    ).eval()


def saved(value: object, tmp_path: Path, **options: object) -> ScanReport:
    path = tmp_path / "x.pt"
    torch.save(value, path, **options)
    return scan(path, allow="modules")


def resnet50() -> object:
    return __import__("torchvision").models.resnet50()


def swin() -> object:
    return __import__("torchvision").models.swin_t()


def detector() -> object:
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn as made

    return made(weights=None, weights_backbone=None)


def timm(name: str) -> Callable[[], object]:
    return lambda: __import__("timm").create_model(name)


def smp(name: str) -> Callable[[], object]:
    return lambda: getattr(__import__("segmentation_models_pytorch"), name)("resnet18", encoder_weights=None)


def yolo(name: str) -> Callable[[], object]:
    def make() -> object:
        from ultralytics import YOLO

        model = YOLO(f"{name}.yaml", verbose=False).model
        return {"model": model.half(), "ema": None, "epoch": -1, "train_args": {"imgsz": 640}, "version": "8"}

    return make


def normed() -> object:
    from torch.nn.utils import prune, weight_norm

    module = torch.nn.Sequential(weight_norm(torch.nn.Conv1d(3, 4, 2)), torch.nn.Linear(3, 3))
    prune.l1_unstructured(module[1], "weight", 0.5)
    return module


MODULES = {
    "resnet50": resnet50,
    "swin": swin,
    "detector": detector,
    "efficientnet": timm("efficientnet_b0"),
    "vit": timm("vit_tiny_patch16_224"),
    "convnext": timm("convnext_atto"),
    "unet": smp("Unet"),
    "deeplab": smp("DeepLabV3Plus"),
    "yolov8n": yolo("yolov8n"),
    "yolov8n-seg": yolo("yolov8n-seg"),
    "yolo11n": yolo("yolo11n"),
    "weight norm and pruning": normed,
    "transformer": lambda: torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2), 2),
}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES.keys())
def test_whole_modules_need_modules(make: Callable[[], object], tmp_path: Path) -> None:
    value = make()
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = saved(value, tmp_path, **options)
        assert report.clean, report.findings
        assert report.needs == "modules"
        assert scan(tmp_path / "x.pt").forbidden


def test_a_module_with_a_hook_of_its_own_is_refused(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    module.register_forward_hook(torch.nn.functional.relu)
    assert "pickle-hooks" in {finding.code for finding in saved(module, tmp_path).findings}


def test_tensors_of_every_kind_need_tensors(tmp_path: Path) -> None:
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int64, torch.bool)
    more = (torch.complex64, torch.uint16, torch.float8_e4m3fn)
    net = small()
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    values = {
        "kinds": {str(kind): torch.ones(3).to(kind) for kind in (*kinds, *more)},
        "state": {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()},
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "by channel": torch.quantize_per_channel(torch.ones(3, 2), torch.ones(3), torch.zeros(3), 0, torch.quint8),
        "sparse": [torch.eye(3).to_sparse(), torch.eye(3).to_sparse_csr()],
        "meta": torch.ones(2, device="meta"),
        "views": {"a": torch.arange(10)[2:5], "t": torch.ones(3, 4).T},
    }
    for name, value in values.items():
        report = saved(value, tmp_path)
        assert (report.findings, report.needs) == ((), "tensors"), name
    report = saved(values["state"], tmp_path, _use_new_zipfile_serialization=False)
    assert (report.format, report.findings, report.needs) == ("torch-legacy", (), "tensors")


def test_facts_beside_the_weights_pass(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    facts = {
        "args": argparse.Namespace(lr=0.1, out=Path("runs")),
        "by class": collections.defaultdict(list, {"a": [1]}),
        "when": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "array": np.ones((3, 4)),
        "score": np.float32(0.5),
        "names": np.array(["a", {"b": 1}], dtype=object),
        "kinds": frozenset([1]),
    }
    report = saved(facts | {"w": torch.ones(2)}, tmp_path)
    assert (report.findings, report.needs) == ((), "modules")


def test_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")

    class Net(lightning.LightningModule):
        def __init__(self, width: int = 3, options: object = None) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(4, 2)

        def training_step(self, batch: Any, _: int) -> Any:
            return self.layer(batch[0]).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    data = torch.utils.data.TensorDataset(torch.ones(8, 4))
    trainer.fit(Net(3, argparse.Namespace(a=1)), torch.utils.data.DataLoader(data, batch_size=4))
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    report = scan(path, allow="modules")
    assert (report.format, report.findings) == ("torch-zip", ())


def test_estimators_by_joblib_and_skops(tmp_path: Path) -> None:
    joblib, skops = pytest.importorskip("joblib"), pytest.importorskip("skops.io")
    np = pytest.importorskip("numpy")
    from sklearn import ensemble, linear_model, neighbors, neural_network, pipeline, preprocessing, svm

    x = np.random.default_rng(0).random((40, 4))
    y = (x[:, 0] > 0.5).astype(int)
    estimators = (
        ensemble.RandomForestClassifier(3),
        ensemble.GradientBoostingClassifier(n_estimators=2),
        ensemble.HistGradientBoostingClassifier(max_iter=2),
        linear_model.LogisticRegression(),
        neighbors.KNeighborsClassifier(),
        neural_network.MLPClassifier((4,), max_iter=3),
        pipeline.make_pipeline(preprocessing.StandardScaler(), svm.SVC()),
    )
    for estimator in estimators:
        estimator.fit(x, y)
        for compress in (0, 3, ("gzip", 3), ("xz", 1)):
            joblib.dump(estimator, tmp_path / "m.joblib", compress=compress)
            report = scan(tmp_path / "m.joblib", allow="modules")
            assert (report.format, report.findings, report.needs) == ("joblib", (), "modules"), estimator
        skops.dump(estimator, tmp_path / "m.skops")
        report = scan(tmp_path / "m.skops")
        assert (report.format, report.findings) == ("skops", ()), estimator


def test_arrays_shards_programs_and_torchscript(tmp_path: Path) -> None:
    np, safetensors = pytest.importorskip("numpy"), pytest.importorskip("safetensors.torch")
    np.save(tmp_path / "a.npy", np.ones((3, 4)))
    np.savez_compressed(tmp_path / "b.npz", a=np.ones(300), b=np.array(["x", "yy"]))
    np.save(tmp_path / "c.npy", np.zeros(3, dtype=[("a", "f4"), ("b", "i8")]))
    for number, name in enumerate(("a", "b"), 1):
        safetensors.save_file({name: torch.ones(3)}, tmp_path / f"model-0000{number}-of-00002.safetensors")
    table = {name: f"model-0000{number}-of-00002.safetensors" for number, name in enumerate(("a", "b"), 1)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    net, x = small(), torch.ones(1, 3, 8, 8)
    torch.export.save(torch.export.export(net, (x,)), tmp_path / "p.pt2")
    torch.jit.save(torch.jit.script(net), tmp_path / "script.pt", _extra_files={"facts.json": "{}"})
    torch.jit.save(torch.jit.trace(net, x), tmp_path / "trace.pt")
    report = scan_tree(tmp_path)
    assert [str(finding) for file in report.refused for finding in file.findings] == []
    formats = {Path(file.path).name: file.format for file in report.files}
    assert formats["trace.pt"] == formats["script.pt"] == "torchscript"
    assert formats["p.pt2"] == "pt2"


def test_the_formats_that_devices_run(tmp_path: Path) -> None:
    onnx, openvino = pytest.importorskip("onnx"), pytest.importorskip("openvino")
    coremltools = pytest.importorskip("coremltools")
    exir = pytest.importorskip("executorch.exir")
    net, x = small(), torch.ones(1, 3, 16, 16)
    torch.onnx.export(net, (x,), tmp_path / "m.onnx", dynamo=True)
    beside = tmp_path / "beside"
    beside.mkdir()
    model = onnx.load(tmp_path / "m.onnx")
    onnx.save(model, beside / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    openvino.save_model(openvino.convert_model(net, example_input=x), tmp_path / "ir" / "m.xml")
    traced = torch.jit.trace(net, x)
    given = [coremltools.TensorType(shape=tuple(x.shape))]
    coremltools.convert(traced, inputs=given, convert_to="mlprogram").save(str(tmp_path / "m.mlpackage"))
    coremltools.convert(traced, inputs=given, convert_to="neuralnetwork").save(str(tmp_path / "m.mlmodel"))
    lowered = exir.to_edge_transform_and_lower(torch.export.export(net, (x,))).to_executorch()
    (tmp_path / "m.pte").write_bytes(lowered.buffer)
    report = scan_tree(tmp_path)
    assert [str(finding) for file in report.refused for finding in file.findings] == []
    assert {"onnx", "openvino", "coreml", "executorch", "coreml-package", "data"} <= {f.format for f in report.files}
    assert report.needs == "tensors"


def test_tflite(tmp_path: Path) -> None:
    litert_torch = pytest.importorskip("litert_torch")
    litert_torch.convert(small(), (torch.ones(1, 3, 16, 16),)).export(str(tmp_path / "m.tflite"))
    report = scan(tmp_path / "m.tflite")
    assert (report.format, report.findings) == ("tflite", ())
