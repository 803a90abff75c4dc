"""What the server adds to a model: requests per second and median latency over HTTP against the engine alone.

Both are measured in one run on the null engine, which computes next to nothing, so nearly all of what is seen is the
server's: HTTP, the protocol, the queue and the hand-over between threads. Only the ratios and the processor time per
request mean something on another machine; the client shares the processor with the server, a process of its own.

    python benchmarks/serving_overhead.py [--seconds 3] [--concurrency 16] [--elements 900]

Printed as one JSON document:

- `direct`: `engine.run` in a loop, one row at a time.
- `binary`, `json`: one row per request, closed loop, `concurrency` connections kept open; and `lone`: binary with one.
- `http_over_direct_rate`: requests per second over HTTP divided by those of the direct loop.
- `added_p50_us`: median latency of a lone caller minus that of the direct loop.
- `server_cpu_us_per_request`: processor time of the server process, which other load on the machine disturbs least.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from wherry.core.model import ModelSpec, TensorSpec
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import NULL_CONTENT
from wherry.serving.model import ServedModel
from wherry.serving.server import serve

INFER = "/v2/models/null/infer"
HEADER = "Inference-Header-Content-Length"


def model(folder: Path, elements: int) -> ServedModel:
    """The null model, one row of `elements` numbers in and 64 out."""
    main = folder / "null.bin"
    main.write_bytes(NULL_CONTENT)
    spec = ModelSpec(
        task="null",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", elements)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 64)),),
    )
    return ServedModel(name="null", version=1, spec=spec, engine="null", main=main)


def bodies(elements: int) -> dict[str, tuple[bytes, dict[str, str]]]:
    """One request as binary and as JSON, with its headers."""
    x = np.random.default_rng(0).random((1, elements), np.float32)
    tensor: dict[str, Any] = {"name": "x", "shape": [1, elements], "datatype": "FP32"}
    described = tensor | {"parameters": {"binary_data_size": x.nbytes}}
    head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    text = json.dumps({"inputs": [tensor | {"data": x.ravel().tolist()}]}).encode()
    return {"binary": (head + x.tobytes(), {HEADER: str(len(head))}), "json": (text, {})}


def direct(served: ServedModel, elements: int, seconds: float) -> dict[str, float]:
    """The engine alone."""
    x = {"x": np.random.default_rng(0).random((1, elements), np.float32)}
    times = []
    with engine_class("null")(served.main, served.spec) as engine:
        until = time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            engine.run(x)
            times.append(time.perf_counter() - started)
    return {"per_s": len(times) / seconds, "p50_us": float(np.median(times)) * 1e6}


def closed_loop(port: int, body: bytes, headers: dict[str, str], callers: int, seconds: float) -> list[float]:
    """Latencies in seconds of `callers` that ask again as soon as they are answered."""
    times: list[list[float]] = [[] for _ in range(callers)]
    until = time.perf_counter() + seconds

    def call(mine: list[float]) -> None:
        connection = HTTPConnection("127.0.0.1", port)
        while (started := time.perf_counter()) < until:
            connection.request("POST", INFER, body, headers)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(response.status)
            mine.append(time.perf_counter() - started)
        connection.close()

    threads = [threading.Thread(target=call, args=(mine,)) for mine in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [latency for mine in times for latency in mine]


def over_http(
    port: int, server: psutil.Process, request: tuple[bytes, dict[str, str]], callers: int, seconds: float
) -> Any:
    """Rate, latency and the server's processor time, after a warm-up."""
    closed_loop(port, *request, callers, 0.3)
    before = server.cpu_times()
    latencies = closed_loop(port, *request, callers, seconds)
    after = server.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return {
        "per_s": len(latencies) / seconds,
        "p50_us": float(np.median(latencies)) * 1e6,
        "p99_us": float(np.percentile(latencies, 99)) * 1e6,
        "server_cpu_us_per_request": cpu / len(latencies) * 1e6,
    }


def measure(folder: Path, elements: int, callers: int, seconds: float) -> dict[str, Any]:
    """Run everything once."""
    served = model(folder, elements)
    command = [sys.executable, __file__, "--serve", str(folder), "--elements", str(elements)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            port = int(child.stdout.readline().rpartition(":")[2])
            process = psutil.Process(child.pid)
            requests = bodies(elements)
            result: dict[str, Any] = {"direct": direct(served, elements, seconds)}
            result["lone"] = over_http(port, process, requests["binary"], 1, seconds)
            for kind, request in requests.items():
                result[kind] = over_http(port, process, request, callers, seconds)
        finally:
            child.terminate()
    result["http_over_direct_rate"] = {
        kind: result[kind]["per_s"] / result["direct"]["per_s"] for kind in ("lone", "binary", "json")
    }
    result["added_p50_us"] = result["lone"]["p50_us"] - result["direct"]["p50_us"]
    return result


def main() -> None:
    """Serve, or measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--elements", type=int, default=900)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve([model(options.serve, options.elements)], port=0, on_ready=lambda url: print(url, flush=True))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), options.elements, options.concurrency, options.seconds), indent=2))


if __name__ == "__main__":
    main()
