"""Our export of all targets against the makers' own tools called one after the other, and the same export again.

    python benchmarks/export_all.py [--network resnet18] [--rounds 1] [--json]

Each maker's tool starts from the same network in a fresh Python process, as a script of a user would do it: build the
network, convert, save. Ours starts from the captured program, with two child processes at a time. Both sides make the
same files: ONNX, OpenVINO from that ONNX, TFLite, and what else both have. Budgets: at most 0.7 of the tools' time, and
at most one second for the export of what has not changed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from wherry.core.digest import sha256_hex
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.core.variant import Target
from wherry.export.request import ExportRequest
from wherry.export.run import export_all
from wherry.export.targets import TARGETS
from wherry.jobs.child import run_in_child

START = """
import sys, torch, torchvision
torch.manual_seed(0)
network = getattr(torchvision.models, sys.argv[1])(weights=None).eval()
example = (torch.rand(1, 3, 224, 224),)
"""
MAKERS = {
    "pt2": "torch.export.save(torch.export.export(network, example), out + '.pt2')",
    "onnx": "torch.onnx.export(network, example, out + '.onnx', dynamo=True, external_data=False)",
    "openvino": (
        "import openvino; openvino.save_model(openvino.convert_model(sys.argv[3] + '/onnx.onnx'), out + '.xml')"
    ),
    "tflite": "import litert_torch; litert_torch.convert(network, example).export(out + '.tflite')",
    "coreml": (
        "import coremltools as ct; program = torch.export.export(network, example).run_decompositions({})\n"
        "ct.convert(program, minimum_deployment_target=ct.target.iOS16).save(out + '.mlpackage')"
    ),
    "executorch": (
        "from executorch.exir import to_edge_transform_and_lower\n"
        "from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner\n"
        "program = to_edge_transform_and_lower(torch.export.export(network, example), "
        "partitioner=[XnnpackPartitioner()]).to_executorch()\n"
        "open(out + '.pte', 'wb').write(program.buffer)"
    ),
}


def by_makers(network: str, formats: list[str], folder: Path) -> dict[str, float]:
    """Return the seconds of each tool in a process of its own; a tool that fails is named and ends this program."""
    seconds = {}
    for name in formats:
        code = f"{START}\nout = sys.argv[2]\n{MAKERS[name]}"
        started = time.perf_counter()
        command = [sys.executable, "-c", code, network, str(folder / name), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
        seconds[name] = time.perf_counter() - started
    return seconds


def request(network: str, folder: Path) -> ExportRequest:
    """Capture the network, as registering a version does, and return a request for it."""
    code = f"{START}\ntorch.export.save(torch.export.export(network, example), sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, network, str(folder / "program.pt2")], check=True, capture_output=True)
    spec = ModelSpec(
        task="classification",
        inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 3, 224, 224)),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=(1, 1000)),),
        preprocessing=Preprocessing(kind="image", size=(224, 224), scale=1 / 255),
    )
    return ExportRequest(
        model=network,
        version=1,
        version_digest="0" * 64,
        spec=spec,
        target=Target(format="pt2"),
        program=str(folder / "program.pt2"),
        program_sha256=sha256_hex((folder / "program.pt2").read_bytes()),
    )


def by_us(asked: list[ExportRequest], cache: Path) -> tuple[float, dict[str, float]]:
    """Return the wall time of one export of everything, and the seconds of each target."""
    started = time.perf_counter()
    outcomes = export_all(asked, cache=cache, run=run_in_child, parallel=2)
    wall = time.perf_counter() - started
    failed = [f"{outcome.target.name}: {outcome.error}" for outcome in outcomes if outcome.variant is None]
    if failed:
        sys.exit("; ".join(failed))
    return wall, {outcome.target.name: outcome.seconds for outcome in outcomes}


def measure(network: str, rounds: int) -> list[dict[str, object]]:
    """Return one row for each round, the two sides taking turns."""
    from dataclasses import replace

    formats = [name for name in MAKERS if name in TARGETS]
    rows: list[dict[str, object]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            base = request(network, folder)
            asked = [replace(base, target=Target(format=format_)) for format_ in formats]
            makers = by_makers(network, formats, folder)
            wall, parts = by_us(asked, folder / "cache")
            again, _ = by_us(asked, folder / "cache")
            rows.append(
                {
                    "makers_s": makers,
                    "makers_total_s": sum(makers.values()),
                    "ours_s": parts,
                    "ours_wall_s": wall,
                    "ratio": wall / sum(makers.values()),
                    "again_s": again,
                    "load_average": os.getloadavg(),
                }
            )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", default="resnet18", help="a classifier of torchvision")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = measure(given.network, given.rounds)
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"makers' tools one after the other  {row['makers_total_s']:7.1f} s  {row['makers_s']}")
        print(f"wherry, two at a time              {row['ours_wall_s']:7.1f} s  {row['ours_s']}")
        print(f"ratio                              {row['ratio']:7.2f}    (budget 0.70)")
        print(f"the same again                     {row['again_s']:7.2f} s  (budget 1.00)")
        print(f"load average                       {row['load_average']}")


if __name__ == "__main__":
    main()
