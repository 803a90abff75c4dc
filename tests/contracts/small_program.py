"""A small convolutional classifier with a dynamic batch, captured once per test session, for the contract suites."""

from pathlib import Path

import numpy as np

from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.core.variant import Target
from wherry.export.calibration import calibration_from_arrays
from wherry.export.child import file_ref
from wherry.export.request import ExportRequest
from wherry.export.targets import TARGETS, exporter_class

CLASSES = ("circle", "cross", "square")
SPEC = ModelSpec(
    task="classification",
    inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 3), meaning="logits"),),
    preprocessing=Preprocessing(kind="image", size=(8, 8), color="L", scale=1 / 255, mean=(0.5,), std=(0.25,)),
    postprocessing="softmax",
    class_names=CLASSES,
)
VENDOR = ("hailo", "tensorrt")
"""Formats and engines whose makers' tools are not here; they have tests of their own in tests/export."""
FORMATS = [name for name in TARGETS if name not in VENDOR]
ALL = [Target(format=name, precision=precision) for name in FORMATS for precision in exporter_class(name).precisions]
RAW = np.random.default_rng(7).integers(0, 256, (20, 8, 8), dtype=np.uint8)


def capture(folder: Path) -> Path:
    """Capture the program into the folder and return its path."""
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(128, 3),
    ).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: batch},))
    path = folder / "program.pt2"
    torch.export.save(program, path)
    return path


def requests(program: Path, *targets) -> list[ExportRequest]:
    """Return requests for the targets, with a calibration set that lies beside the program."""
    path = program.parent / "calibration.npz"
    labels = [index % 3 for index in range(60)]
    raw = np.random.default_rng(8).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    manifest = calibration_from_arrays(raw, labels, CLASSES, "random pixels", path)
    return [
        ExportRequest(
            model="shapes",
            version=2,
            version_digest="d" * 64,
            spec=SPEC,
            target=target,
            program=str(program),
            program_sha256=file_ref(program.parent, program.name).sha256,
            calibration=str(path),
            calibration_manifest=manifest,
        )
        for target in targets
    ]
