import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.affine import POISON, Held, affine_model, wait_until
from wherry.core.errors import BadInputError, BusyError, WherryError
from wherry.serving.server import BackgroundServer, serve

pytestmark = pytest.mark.slow
INFER = "/v2/models/affine/infer"
ROOT = Path(__file__).parents[2]


def asking(*values: float, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": list(values)}]} | more


GOOD = asking(0, 1, 2, 3)


@contextmanager
def process(folder: Path) -> "Iterator[tuple[subprocess.Popen[str], httpx.Client]]":
    """A server in its own process that is ready, and a client of it."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.serving.serve_affine", str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            with httpx.Client(base_url=child.stdout.readline().strip(), timeout=30) as client:
                yield child, client
        finally:
            child.kill()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(tmp_path: Path, sent: signal.Signals) -> None:
    held = Held(affine_model(tmp_path).main)
    with process(tmp_path) as (child, client), held, ThreadPoolExecutor(1) as threads:
        assert client.get("/v2/health/ready").status_code == 200
        running = threads.submit(client.post, INFER, json=GOOD)
        held.wait()
        child.send_signal(sent)
        wait_until(lambda: client.get("/v2/health/ready").status_code == 503)
        assert "about to stop" in client.get("/v2/models/affine/ready").json()["error"]
        assert client.get("/v2/health/live").status_code == 200
        refused = client.post(INFER, json=GOOD)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        assert not running.done()
        held.release()
        assert running.result().status_code == 200
        assert child.wait(30) == 0
        with pytest.raises(httpx.ConnectError):
            client.get("/v2/health/live")


def test_an_idle_server_stops_and_a_second_signal_insists(tmp_path: Path) -> None:
    held = Held(affine_model(tmp_path).main)
    with process(tmp_path) as (child, _):
        child.terminate()
        assert child.wait(30) == 0
    with process(tmp_path) as (child, client), held, ThreadPoolExecutor(1) as threads:
        lost = threads.submit(client.post, INFER, json=GOOD)
        held.wait()
        child.terminate()
        wait_until(lambda: client.get("/v2/health/ready").status_code == 503)
        child.terminate()
        assert child.wait(20) == -signal.SIGTERM
        with pytest.raises(httpx.HTTPError):
            lost.result()


def test_a_taken_port_and_addresses_that_are_none(tmp_path: Path) -> None:
    model = affine_model(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BusyError, match=f"Port {port}"):
            serve([model], port=port)
    for host, port in (("nowhere.invalid", 0), ("127.0.0.1", 70_000), ("192.0.2.1", 0)):
        with pytest.raises(WherryError) as caught:
            serve([model], host=host, port=port)
        assert isinstance(caught.value, BadInputError)
    with pytest.raises(BadInputError):
        serve([])


@contextmanager
def held_server(folder: Path, **limits: int) -> Iterator[tuple[BackgroundServer, httpx.Client, Held]]:
    """A server whose engine is held from the first request on."""
    model = affine_model(folder)
    held = Held(model.main)
    with BackgroundServer([model], **limits) as server, httpx.Client(base_url=server.url, timeout=30) as client, held:
        yield server, client, held


def test_a_full_queue_refuses_and_answers_the_rest(tmp_path: Path) -> None:
    """Forty at once while the engine is held, with room for four: explicit refusals, right answers, nothing else."""
    refused = 'wherry_rejected_total{model="affine",reason="queue_full",version="1"}'
    with held_server(tmp_path, max_queue=4, max_batch=1) as (_, client, held), ThreadPoolExecutor(40) as threads:
        first = threads.submit(client.post, INFER, json=GOOD)
        held.wait()
        asked = [threads.submit(client.post, INFER, json=GOOD) for _ in range(40)]
        wait_until(lambda: f"{refused} 36.0" in client.get("/metrics").text, 30)
        held.release()
        responses = [first.result(), *(future.result() for future in asked)]
        assert sorted(response.status_code for response in responses) == [200] * 5 + [503] * 36
        for response in responses:
            if response.status_code == 503:
                assert "busy" in response.json()["error"]
                assert int(response.headers["Retry-After"]) >= 1
        assert client.post(INFER, json=GOOD).status_code == 200


def test_a_deadline_and_a_failing_engine(tmp_path: Path) -> None:
    with held_server(tmp_path) as (_, client, held), ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.post, INFER, json=GOOD)
        held.wait()
        late = client.post(INFER, json=asking(0, 1, 2, 3, parameters={"timeout": 20_000}))
        assert late.status_code == 503
        assert "timeout expired" in late.json()["error"]
        held.release()
        assert first.result().status_code == 200
        failed = client.post(INFER, json=asking(0, 1, 2, POISON))
        assert failed.status_code == 500
        assert "poison" in failed.json()["error"]
        stats = client.get("/v2/models/affine/stats").json()["model_stats"][0]
        assert stats["inference_stats"]["fail"]["count"] == 2
        assert stats["inference_count"] == 1
        assert client.get("/v2/health/ready").status_code == 200


def test_who_hangs_up_while_waiting_is_not_run(tmp_path: Path) -> None:
    with held_server(tmp_path, max_batch=1) as (server, client, held), ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.post, INFER, json=GOOD)
        held.wait()
        with httpx.Client(base_url=server.url, timeout=0.5) as hasty, pytest.raises(httpx.ReadTimeout):
            hasty.post(INFER, json=GOOD)
        wait_until(lambda: server.pool.in_flight == 1)
        held.release()
        assert first.result().status_code == 200
        text = client.get("/metrics").text
        assert 'wherry_rejected_total{model="affine",reason="cancelled",version="1"} 1.0' in text
        assert 'wherry_requests_total{code="499",model="affine",version="1"} 1.0' in text
        stats = client.get("/v2/models/affine/stats").json()["model_stats"][0]
        assert stats["execution_count"] == 1


def test_leaving_the_block_finishes_what_has_begun(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    model = affine_model(tmp_path)
    held = Held(model.main)
    with ThreadPoolExecutor(2) as threads:
        with BackgroundServer([model]) as server:
            held.hold()
            running = threads.submit(httpx.post, server.url + INFER, json=GOOD)
            held.wait()
            threads.submit(lambda: (wait_until(lambda: server.pool.draining), held.release()))
        assert running.result().status_code == 200
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    assert not [name for name in left if name.startswith(("wherry-infer", "wherry-serve"))]


def test_serving_needs_nothing_of_the_training_site() -> None:
    heavy = ("torch", "onnx", "onnxruntime", "openvino", "sqlalchemy", "tuf", "fastapi", "PIL")
    rooms = ("train", "registry", "export", "checkpoint", "delivery", "bundle", "jobs", "cli", "agent")
    code = (
        "import sys, wherry.serving.server, wherry.serving.loading\n"
        f"found = [name for name in {heavy + tuple(f'wherry.{room}' for room in rooms)!r} if name in sys.modules]\n"
        "sys.exit(' '.join(found) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
