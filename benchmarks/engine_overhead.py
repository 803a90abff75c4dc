"""What `Engine.run` adds to the bare call of the runtime, for each engine that can run here.

A small network is exported once for each engine. Then the engine and the runtime's own call on the same file take turns
in one run, on one thread, so that other load on the machine disturbs both alike. Only the differences mean something on
another machine. The budget is 5 % or 50 microseconds, whichever is more.

    python benchmarks/engine_overhead.py [--rounds 2000] [--size 64] [--engines onnxruntime,litert]

Printed as one JSON document, for each engine: `bare_us` and `engine_us` (medians), `added_us` (median of the
differences of neighbours), `ratio` (engine / bare) and `within_budget`.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wherry.core.model import ModelSpec, TensorSpec
from wherry.core.variant import Target
from wherry.export.child import file_ref
from wherry.export.request import ExportOutcome, ExportRequest
from wherry.export.run import export_all
from wherry.export.targets import TARGETS, exporter_class
from wherry.jobs.child import run_in_child
from wherry.runtime import telemetry
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import EngineOptions
from wherry.runtime.program import open_program

Bare = Callable[[], object]
LEFT_OUT = ("null", "coreml")  # computes nothing; runs on a Mac only, and has no bare call here


def capture(folder: Path, size: int) -> tuple[Path, ModelSpec]:
    """A small convolutional network of a fixed batch of 1, as a program."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(32, 10),
    ).eval()
    path = folder / "program.pt2"
    torch.export.save(torch.export.export(net, (torch.rand(1, 3, size, size),)), path)
    image = TensorSpec(name="image", dtype="float32", shape=(1, 3, size, size))
    logits = TensorSpec(name="logits", dtype="float32", shape=(1, 10))
    return path, ModelSpec(task="classification", inputs=(image,), outputs=(logits,))


def export(program: Path, spec: ModelSpec, engines: set[str]) -> dict[str, ExportOutcome]:
    """One fp32 variant for each engine."""
    formats = {exporter_class(name).engine: name for name in reversed(TARGETS)}
    requests = [
        ExportRequest(
            model="overhead",
            version=1,
            version_digest="0" * 64,
            spec=spec,
            target=Target(format=name),
            program=str(program),
            program_sha256=file_ref(program.parent, program.name).sha256,
        )
        for engine, name in formats.items()
        if engine in engines
    ]
    outcomes = export_all(requests, cache=program.parent / "cache", run=run_in_child)
    return {exporter_class(outcome.target.format).engine: outcome for outcome in outcomes}


def _onnxruntime(path: Path, image: Any) -> Bare:
    telemetry.silence()
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": image})


def _openvino(path: Path, image: Any) -> Bare:
    telemetry.silence()
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}
    request = ov.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda: request.infer({"image": image})[0]


def _litert(path: Path, image: Any) -> Bare:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=1).get_signature_runner("serving_default")
    name = next(iter(runner.get_input_details()))
    return lambda: runner(**{name: image})


def _executorch(path: Path, image: Any) -> Bare:
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path)
    method, tensor = program.load_method("forward"), torch.from_numpy(image)
    return lambda: (program, method.execute([tensor])[0].numpy())


def _torch(call: Any, image: Any) -> Bare:
    def bare() -> object:
        with torch.inference_mode():
            return call(torch.from_numpy(image)).numpy()

    return bare


def _torchscript(path: Path, image: Any) -> Bare:
    return _torch(torch.jit.load(str(path)), image)


def _aoti(path: Path, image: Any) -> Bare:
    from torch._inductor import aoti_load_package

    return _torch(aoti_load_package(str(path)), image)


def _program(path: Path, image: Any) -> Bare:
    return _torch(open_program(path).module(), image)


BARE = {
    "torch": _program,
    "torchscript": _torchscript,
    "aoti": _aoti,
    "onnxruntime": _onnxruntime,
    "litert": _litert,
    "openvino": _openvino,
    "executorch": _executorch,
}


def measure(name: str, outcome: ExportOutcome, spec: ModelSpec, rounds: int) -> dict[str, Any]:
    """The engine and the bare call by turns."""
    if outcome.variant is None or outcome.folder is None:
        return {"error": outcome.error}
    image = np.random.default_rng(0).random(spec.inputs[0].shape, np.float32)
    path = outcome.folder / outcome.variant.files[0].path
    times: list[tuple[float, float]] = []
    with engine_class(name)(path, spec, batch=outcome.variant.batch, options=EngineOptions(threads=1)) as engine:
        bare, inputs = BARE[name](path, image), {"image": image}
        torch.set_num_threads(1)
        for index in range(rounds + rounds // 10):
            started = time.perf_counter()
            bare()
            between = time.perf_counter()
            engine.run(inputs)
            ended = time.perf_counter()
            if index >= rounds // 10:  # the first tenth warms up
                times.append((between - started, ended - between))
    pairs = np.array(times) * 1e6
    one, two = (float(value) for value in np.median(pairs, axis=0))
    added = float(np.median(pairs[:, 1] - pairs[:, 0]))
    return {
        "bare_us": round(one, 1),
        "engine_us": round(two, 1),
        "added_us": round(added, 1),
        "ratio": round(two / one, 3),
        "within_budget": added <= max(50.0, 0.05 * one),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--engines", default=",".join(BARE))
    asked = parser.parse_args()
    wanted = {name for name in asked.engines.split(",") if name not in LEFT_OUT}
    ready = {name for name in wanted if engine_class(name).unsupported() is None}
    with tempfile.TemporaryDirectory(prefix="wherry-overhead-") as folder:
        path, spec = capture(Path(folder), asked.size)
        outcomes = export(path, spec, ready)
        found = {name: measure(name, outcomes[name], spec, asked.rounds) for name in sorted(outcomes)}
    json.dump({"size": asked.size, "rounds": asked.rounds, "engines": found}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
