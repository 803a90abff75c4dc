import asyncio
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

from tests.serving.affine import POISON, affine_model, wait_until
from wherry.core.errors import BadInputError, BusyError, WherryError
from wherry.serving.server import BackgroundServer, serve

pytestmark = pytest.mark.slow
INFER = "/v2/models/affine/infer"
ROOT = Path(__file__).parents[2]


def asking(*values: float, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": list(values)}]} | more


GOOD = asking(0, 1, 2, 3)


@contextmanager
def process(folder: Path, seconds: float, *more: str) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """A server in its own process, and its address once it is ready."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.serving.serve_affine", str(folder), str(seconds), *more]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(tmp_path: Path, sent: signal.Signals) -> None:
    with process(tmp_path, 1.5) as (child, url), ThreadPoolExecutor(2) as threads:
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200
        running = threads.submit(httpx.post, url + INFER, json=GOOD, timeout=30)
        wait_until(lambda: _busy(url))
        child.send_signal(sent)
        wait_until(lambda: httpx.get(f"{url}/v2/health/ready").status_code == 503)
        assert "about to stop" in httpx.get(f"{url}/v2/models/affine/ready").json()["error"]
        assert httpx.get(f"{url}/v2/health/live").status_code == 200
        refused = httpx.post(url + INFER, json=GOOD)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        assert not running.done()
        assert running.result().status_code == 200
        assert child.wait(15) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/v2/health/live")


def _busy(url: str) -> bool:
    """Whether a request is with the engine: it has left the queue, and no answer is counted."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(65536), b""))
    return b"wherry_requests_in_flight 1.0" in text


def test_an_idle_server_stops_at_once_and_a_second_signal_insists(tmp_path: Path) -> None:
    with process(tmp_path, 0) as (child, _):
        child.terminate()
        assert child.wait(10) == 0
    (tmp_path / "slow").mkdir()
    with process(tmp_path / "slow", 5) as (child, url), ThreadPoolExecutor(1) as threads:
        lost = threads.submit(httpx.post, url + INFER, json=GOOD, timeout=30)
        wait_until(lambda: _busy(url))
        child.terminate()
        wait_until(lambda: httpx.get(f"{url}/v2/health/ready").status_code == 503)
        child.terminate()
        assert child.wait(4) == -signal.SIGTERM
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


def test_a_full_queue_refuses_and_answers_the_rest(tmp_path: Path) -> None:
    """Sixty at once on one slow engine with room for four: explicit refusals, right answers, nothing else."""
    model = affine_model(tmp_path, seconds=0.05)
    with BackgroundServer([model], max_queue=4, max_batch=1) as server:

        async def scene() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=60)
            async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=30) as client:
                return list(await asyncio.gather(*(client.post(INFER, json=GOOD) for _ in range(60))))

        responses = asyncio.run(scene())
        codes = [response.status_code for response in responses]
        assert set(codes) == {200, 503}
        assert codes.count(200) >= 5
        for response in responses:
            if response.status_code == 503:
                assert "busy" in response.json()["error"]
                assert int(response.headers["Retry-After"]) >= 1
        text = httpx.get(f"{server.url}/metrics").text
        refused = float(codes.count(503))
        assert f'wherry_rejected_total{{model="affine",reason="queue_full",version="1"}} {refused}' in text
        assert httpx.post(server.url + INFER, json=GOOD).status_code == 200


def test_a_deadline_and_a_failing_engine(tmp_path: Path) -> None:
    with BackgroundServer([affine_model(tmp_path, seconds=0.4)]) as server, ThreadPoolExecutor(2) as threads:
        first = threads.submit(httpx.post, server.url + INFER, json=GOOD)
        wait_until(lambda: server.pool.in_flight == 1)
        late = httpx.post(server.url + INFER, json=asking(0, 1, 2, 3, parameters={"timeout": 20_000}))
        assert late.status_code == 503
        assert "timeout expired" in late.json()["error"]
        assert first.result().status_code == 200
        failed = httpx.post(server.url + INFER, json=asking(0, 1, 2, POISON))
        assert failed.status_code == 500
        assert "poison" in failed.json()["error"]
        stats = httpx.get(f"{server.url}/v2/models/affine/stats").json()["model_stats"][0]
        assert stats["inference_stats"]["fail"]["count"] == 2
        assert stats["inference_count"] == 1
        assert httpx.get(f"{server.url}/v2/health/ready").status_code == 200


def test_who_hangs_up_while_waiting_is_not_run(tmp_path: Path) -> None:
    with (
        BackgroundServer([affine_model(tmp_path, seconds=0.6)], max_batch=1) as server,
        ThreadPoolExecutor(2) as threads,
    ):
        first = threads.submit(httpx.post, server.url + INFER, json=GOOD)
        wait_until(lambda: server.pool.in_flight == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url + INFER, json=GOOD, timeout=0.15)
        assert first.result().status_code == 200
        wait_until(lambda: server.pool.in_flight == 0)
        text = httpx.get(f"{server.url}/metrics").text
        assert 'wherry_rejected_total{model="affine",reason="cancelled",version="1"} 1.0' in text
        assert 'wherry_requests_total{code="499",model="affine",version="1"} 1.0' in text
        stats = httpx.get(f"{server.url}/v2/models/affine/stats").json()["model_stats"][0]
        assert stats["execution_count"] == 1


def test_leaving_the_block_finishes_what_has_begun(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        with BackgroundServer([affine_model(tmp_path, seconds=0.5)]) as server:
            running = threads.submit(httpx.post, server.url + INFER, json=GOOD)
            wait_until(lambda: server.pool.in_flight == 1)
        assert running.result().status_code == 200
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("wherry-infer")]


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
