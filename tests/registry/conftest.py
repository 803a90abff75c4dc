"""Builders of small real documents, and a registry that is thrown away."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wherry.core.model import Lineage, ModelSpec, TensorSpec, VersionDraft
from wherry.core.report import EngineInfo, Measurement, OutputError, Report, Tolerance, Verdict
from wherry.core.variant import Receipt, Target, Variant
from wherry.registry import Registry

SPEC = ModelSpec(
    task="classification",
    inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 10)),),
    class_names=tuple("0123456789"),
)
LINEAGE = Lineage(
    timestamp="2026-11-20T10:00:00+00:00",
    training_images=1000,
    new_images=1000,
    total_epochs=8,
    best_accuracy=0.97,
    loss=0.08,
    training_time_hours=0.01,
    base_model=None,
    dataset="d" * 64,
    config_snapshot={"learning_rate": 0.01},
    facts={"num_games": 12, "win_rate": 0.5},
)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty registry to copy: making one runs the migrations, which takes longer than most tests."""
    root = tmp_path_factory.mktemp("empty") / "registry"
    Registry.open(root).close()
    return root


@pytest.fixture
def registry(tmp_path: Path, empty: Path) -> Iterator[Registry]:
    shutil.copytree(empty, tmp_path / "registry")
    with Registry.open(tmp_path / "registry") as opened:
        yield opened


@pytest.fixture(scope="session")
def make_draft() -> Callable[..., VersionDraft]:
    def make(registry: Registry, content: str = "one", **changes: Any) -> VersionDraft:
        lineage = replace(LINEAGE, **changes.pop("lineage", {}))
        draft = VersionDraft(
            model="fire-detector",
            spec=SPEC,
            program=registry.put_bytes("program.pt2", f"program {content}".encode()),
            checkpoint=(registry.put_bytes("weights.pt", f"weights {content}".encode()),),
            golden=registry.put_bytes("golden.npz", b"golden"),
            lineage=lineage,
            metrics={"accuracy": 0.97},
            architecture="a" * 64,
            tools={"torch": "2.13.0"},
        )
        return replace(draft, **changes)

    return make


@pytest.fixture
def register(registry: Registry, make_draft: Callable[..., VersionDraft]) -> Callable[..., Any]:
    """Registers versions with the given contents."""

    def call(*contents: str, **changes: Any) -> Any:
        made = [registry.register(make_draft(registry, text, **changes), who="ada", why="new") for text in contents]
        return made[-1]

    return call


@pytest.fixture(scope="session")
def make_variant() -> Callable[..., Variant]:
    def make(registry: Registry, version: Any, target: str = "onnx-fp32", files: Any = None) -> Variant:
        contents = files or {"model.onnx": f"{version.name} {target}".encode()}
        return Variant(
            model=version.model,
            version=version.number,
            version_digest=version.digest,
            target=Target.parse(target),
            engine="onnxruntime",
            files=tuple(registry.put_bytes(path, data) for path, data in contents.items()),
            batch=None,
            receipt=Receipt(
                created_at="2026-11-20T11:00:00+00:00",
                source=version.program.sha256,
                tools={"onnx": "1.23"},
                requested={"opset": 18},
                effective={"opset": 18},
            ),
        )

    return make


@pytest.fixture(scope="session")
def make_report() -> Callable[..., Report]:
    def make(variant: Variant, /, **changes: Any) -> Report:
        report = Report(
            variant=variant.digest,
            target=variant.name,
            golden="e" * 64,
            where="build",
            verdict=Verdict.PASS,
            reasons=(),
            samples=64,
            outputs=(OutputError(name="logits", max_abs=1e-5, mean_abs=1e-6, cosine=1.0, snr_db=None),),
            metrics={"top1_agreement": 1.0},
            tolerance=Tolerance(min_cosine=0.999, max_abs=1e-3, min_agreement=0.99, max_metric_drop=0.01),
            engine=EngineInfo(engine="onnxruntime", version="1.31.1", device="cpu"),
            not_covered=("other batch sizes",),
            seconds=0.5,
            at="2026-11-20T11:05:00+00:00",
        )
        return replace(report, **changes)

    return make


@pytest.fixture(scope="session")
def make_measurement() -> Callable[..., Measurement]:
    def make(variant: Variant, /, **changes: Any) -> Measurement:
        measurement = Measurement(
            variant=variant.digest,
            target=variant.name,
            machine="two cores",
            batch=1,
            samples=200,
            p50_ms=1.5,
            p90_ms=1.9,
            p99_ms=None,
            mean_ms=1.6,
            ci95_ms=(1.4, 1.6),
            throughput_per_s=640.0,
            load_ms=12.0,
            memory_mb=80.0,
            size_bytes=variant.size,
            engine=EngineInfo(engine="onnxruntime", version="1.31.1", device="cpu"),
            steady=True,
            at="2026-11-20T11:06:00+00:00",
        )
        return replace(measurement, **changes)

    return make
