"""Whatever arrives, the answer is one sentence with the right code, and the server carries on."""

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.serving.server import BackgroundServer

pytestmark = pytest.mark.slow
INFER = "/v2/models/affine/infer"
ROW = np.arange(4, dtype="<f4").tobytes()
LENGTH = "Inference-Header-Content-Length"
GOOD: dict[str, Any] = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 1, 2, 3]}]}


@pytest.fixture(scope="module")
def client(server: BackgroundServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"Accept-Encoding": "identity"}) as made:
        yield made


def sentence(response: httpx.Response, code: int) -> str:
    assert response.status_code == code, response.text
    assert response.headers["Content-Type"] == "application/json"
    document = response.json()
    assert list(document) == ["error"]
    assert len(document["error"]) > 10
    return str(document["error"])


def still_well(client: httpx.Client) -> None:
    assert client.get("/v2/health/ready").json() == {"ready": True, "live": True}
    assert client.post(INFER, json=GOOD).status_code == 200


def with_header(text: bytes, tail: bytes, length: object = None) -> dict[str, Any]:
    return {"content": text + tail, "headers": {LENGTH: str(len(text) if length is None else length)}}


BINARY = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","parameters":{"binary_data_size":16}}]}'


@pytest.mark.parametrize(
    "how",
    [
        {"content": b""},
        {"content": b"{"},
        {"content": b"[]"},
        {"content": b"\x00\xff"},
        {"content": b"[" * 200_000},
        {"json": {"inputs": [{"name": "x"}]}},
        {"json": {"inputs": [GOOD["inputs"][0] | {"datatype": "INT32"}]}},
        {"json": {"inputs": [GOOD["inputs"][0] | {"shape": [1, 3]}]}},
        {"json": {"inputs": [GOOD["inputs"][0] | {"shape": [2**61, 4]}]}},
        {"json": {"inputs": [GOOD["inputs"][0] | {"data": "AAAA"}]}},
        {"json": {"inputs": []}},
        {"json": GOOD | {"outputs": [{"name": "nothing"}]}},
        {"json": GOOD | {"parameters": {"timeout": "soon"}}},
        {"json": GOOD | {"parameters": {"triton_enable_empty_final_response": True}}},
        with_header(BINARY, ROW[:-1]),
        with_header(BINARY, ROW + b"1"),
        with_header(BINARY, ROW, 10_000),
        with_header(BINARY, ROW, -1),
        with_header(BINARY, ROW, "ten"),
        with_header(b"", ROW[:-1], 0),
        with_header(b"", b"", 0),
        {"content": b"not gzip", "headers": {"Content-Encoding": "gzip"}},
        {"content": gzip.compress(BINARY)[:-3], "headers": {"Content-Encoding": "gzip"}},
    ],
)
def test_what_is_malformed(client: httpx.Client, how: dict[str, Any]) -> None:
    sentence(client.post(INFER, **how), 400)
    still_well(client)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(-5, 250)))
def test_noise(client: httpx.Client, body: bytes, length: int | None) -> None:
    if length == 0 and len(body) == 16:
        return  # sixteen bytes are a row
    headers = {} if length is None else {LENGTH: str(length)}
    sentence(client.post(INFER, content=body, headers=headers), 400)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_request_with_one_thing_changed(client: httpx.Client, data: st.DataObject) -> None:
    """Never a 500, whatever stands where."""
    anything = st.recursive(
        st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=5,
    )
    document = json.loads(
        json.dumps(GOOD | {"id": "1", "parameters": {}, "outputs": [{"name": "best", "parameters": {}}]})
    )
    place = data.draw(st.sampled_from([document, document["inputs"][0], document["outputs"][0]]))
    place[data.draw(st.sampled_from([*place, "parameters", "data"]))] = data.draw(anything)
    text = json.dumps(document)
    response = client.post(INFER, content=text)
    if response.status_code != 200:
        sentence(response, 400)


def test_sizes_over_the_limit(client: httpx.Client) -> None:
    large = bytes(1_000_001)
    assert "1000000 bytes" in sentence(client.post(INFER, content=large), 413)
    assert "1000000 bytes" in sentence(client.post(INFER, content=iter([large])), 413)
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 1_000_000
    sentence(client.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"}), 413)
    sentence(client.post("/v2/repository/index", content=bytes(2_000_000)), 413)
    still_well(client)


def test_unknown_encoding(client: httpx.Client) -> None:
    response = client.post(INFER, content=b"x", headers={"Content-Encoding": "br"})
    sentence(response, 415)
    assert response.headers["Accept-Encoding"] == "gzip, deflate"


@pytest.mark.parametrize("path", ["/", "/v2/", "/v2/nothing", "/v2/models/affine/", "/v1/models", "/v2/models/a/b/c"])
def test_addresses_that_are_none(client: httpx.Client, path: str) -> None:
    sentence(client.get(path), 404)


@pytest.mark.parametrize("version", ["0", "9", "-1", "1.0", "latest", "²", "9" * 40])
def test_versions_that_are_none(client: httpx.Client, version: str) -> None:
    for path in ("", "/ready", "/config", "/stats"):
        said = sentence(client.get(f"/v2/models/affine/versions/{version}{path}"), 404)
        assert "Request for unknown model" in said
    sentence(client.post(f"/v2/models/affine/versions/{version}/infer", json=GOOD), 404)


def test_wrong_methods(client: httpx.Client) -> None:
    response = client.get(INFER)
    sentence(response, 405)
    assert response.headers["Allow"] == "POST"
    sentence(client.post("/v2/health/live"), 405)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"ready": 1}', b'{"parameters": []}', b"\xff"])
def test_repository_requests_that_are_none(client: httpx.Client, body: bytes) -> None:
    for path in ("index", "models/affine/load", "models/affine/unload"):
        sentence(client.post(f"/v2/repository/{path}", content=body), 400)
    still_well(client)


def test_raw_body(client: httpx.Client) -> None:
    response = client.post(INFER, content=ROW, headers={LENGTH: "0"})
    assert response.status_code == 200
    size = int(response.headers[LENGTH])
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert int(response.headers["Content-Length"]) == len(response.content) == size + 3 * 4 + 8
    outputs = json.loads(response.content[:size])["outputs"]
    assert [output["parameters"]["binary_data_size"] for output in outputs] == [12, 8]


def test_json_reply_has_no_binary_header(client: httpx.Client) -> None:
    response = client.post(INFER, json=GOOD)
    assert response.headers["Content-Type"] == "application/json"
    assert LENGTH not in response.headers
    assert "Content-Encoding" not in response.headers


def test_the_content_type_does_not_matter(client: httpx.Client) -> None:
    for kind in ("text/plain", "application/octet-stream", "nonsense"):
        assert client.post(INFER, json=GOOD, headers={"Content-Type": kind}).status_code == 200


def test_index_of_what_is_ready(client: httpx.Client) -> None:
    assert len(client.post("/v2/repository/index", json={"ready": True}).json()) == 8
    assert client.get("/v2/models").json() == {"models": ["affine", "fixed", "float", "half", "open", "text", "whole"]}


def test_metrics(client: httpx.Client) -> None:
    client.post(INFER, json=GOOD)
    client.post(INFER, content=b"{")
    client.post("/v2/models/nobody/infer", json=GOOD)
    text = client.get("/metrics").text
    for line in (
        'wherry_requests_total{code="200",model="affine",version="2"}',
        'wherry_requests_total{code="400",model="affine",version="2"}',
        'wherry_requests_total{code="404",model="",version=""}',
        'wherry_queue_seconds_bucket{le="0.001",model="affine",version="2"}',
        'wherry_compute_seconds_count{model="affine",version="2"}',
        'wherry_batch_rows_bucket{le="1.0",model="affine",version="2"}',
        'wherry_queue_depth{model="affine",version="2"} 0.0',
        'wherry_model_ready{model="affine",version="2"} 1.0',
    ):
        assert line in text
    assert "nobody" not in text


def test_a_caller_who_hangs_up_in_the_middle_of_a_body(client: httpx.Client, server: BackgroundServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc".encode())
    still_well(client)
