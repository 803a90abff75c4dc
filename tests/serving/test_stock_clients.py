"""What NVIDIA's stock clients do with a Triton server, they can do with ours, over real HTTP."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as sync
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException

from tests.serving.affine import expected
from wherry.serving.server import BackgroundServer

pytestmark = pytest.mark.slow
X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def client(address: str) -> Iterator[sync.InferenceServerClient]:
    with sync.InferenceServerClient(address) as made:
        yield made


def tensor(array: Any, *, binary: bool = True, datatype: str = "FP32", name: str = "x") -> sync.InferInput:
    made = sync.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def logits(server: BackgroundServer, x: Any = X, name: str = "affine", version: int = 2) -> Any:
    return expected(server.pool.find(name, str(version)).model.main, x)


def test_health_and_metadata(client: sync.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready(query_params={"test_1": 1, "test_2": 2})
    assert client.is_model_ready("affine")
    assert client.is_model_ready("affine", "1")
    assert not client.is_model_ready("affine", "3")
    assert not client.is_model_ready("nothing")
    about = client.get_server_metadata()
    assert about["name"] == "wherry"
    assert {"binary_tensor_data", "model_repository", "model_configuration", "statistics"} <= set(about["extensions"])
    model = client.get_model_metadata("affine", query_params={"a": [1, 2]})
    assert model["name"] == "affine"
    assert model["versions"] == ["1", "2"]
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert model["outputs"][1] == {"name": "best", "datatype": "INT64", "shape": [-1]}


def test_unknown_model(client: sync.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'x' is not found") as caught:
        client.get_model_metadata("x")
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="Request for unknown model"):
        client.infer("x", [tensor(X)])


def test_config(client: sync.InferenceServerClient) -> None:
    config = client.get_model_config("affine")
    assert config["max_batch_size"] == 32
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert config["output"][1] == {"name": "best", "data_type": "TYPE_INT64", "dims": [1], "reshape": {"shape": []}}
    assert client.get_model_config("fixed")["max_batch_size"] == 4
    whole = client.get_model_config("whole")
    assert whole["max_batch_size"] == 0
    assert whole["input"][0]["dims"] == [1, 3]
    assert client.get_model_config("text", "1")["input"][0]["data_type"] == "TYPE_STRING"


def test_statistics(client: sync.InferenceServerClient) -> None:
    def count() -> Any:
        (found,) = client.get_inference_statistics("affine", "1")["model_stats"]
        return found

    before = count()
    client.infer("affine", [tensor(X)], model_version="1")
    after = count()
    assert (after["name"], after["version"]) == ("affine", "1")
    assert after["inference_count"] == before["inference_count"] + 2
    assert after["execution_count"] == before["execution_count"] + 1
    assert after["last_inference"] > 0
    kinds = {"success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"}
    assert set(after["inference_stats"]) == kinds
    assert all(set(value) == {"count", "ns"} for value in after["inference_stats"].values())
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    assert any(batch["batch_size"] == 2 for batch in after["batch_stats"])
    assert len(client.get_inference_statistics("affine")["model_stats"]) == 2
    assert len(client.get_inference_statistics()["model_stats"]) == 8
    with pytest.raises(InferenceServerException):
        client.get_inference_statistics("x")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_infer(
    client: sync.InferenceServerClient, server: BackgroundServer, binary_in: bool, binary_out: bool | None
) -> None:
    wanted = None
    if binary_out is not None:
        wanted = [sync.InferRequestedOutput(name, binary_data=binary_out) for name in ("logits", "best")]
    answer = client.infer("affine", [tensor(X, binary=binary_in)], outputs=wanted, request_id="my-id")
    np.testing.assert_allclose(answer.as_numpy("logits"), logits(server), rtol=1e-6)
    assert answer.as_numpy("best").tolist() == logits(server).argmax(axis=1).tolist()
    response = answer.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("my-id", "affine", "2")


def test_infer_one_version(client: sync.InferenceServerClient, server: BackgroundServer) -> None:
    answer = client.infer("affine", [tensor(X)], model_version="1")
    assert answer.get_response()["model_version"] == "1"
    np.testing.assert_allclose(answer.as_numpy("logits"), logits(server, version=1), rtol=1e-6)


def test_requested_outputs_mixed_and_in_order(client: sync.InferenceServerClient, server: BackgroundServer) -> None:
    wanted = [
        sync.InferRequestedOutput("best", binary_data=False),
        sync.InferRequestedOutput("logits", binary_data=True),
    ]
    answer = client.infer("affine", [tensor(X)], outputs=wanted)
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["best", "logits"]
    assert "data" in answer.get_output("best")
    assert "data" not in answer.get_output("logits")
    np.testing.assert_allclose(answer.as_numpy("logits"), logits(server), rtol=1e-6)
    only = client.infer("affine", [tensor(X)], outputs=wanted[:1])
    assert only.as_numpy("logits") is None


@pytest.mark.parametrize("packed", ["gzip", "deflate", None])
@pytest.mark.parametrize("wanted", ["gzip", "deflate", None])
@pytest.mark.parametrize("rows", [2, 5000])
def test_compression(
    client: sync.InferenceServerClient, server: BackgroundServer, packed: str | None, wanted: str | None, rows: int
) -> None:
    x = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)
    answer = client.infer(
        "affine", [tensor(x)], request_compression_algorithm=packed, response_compression_algorithm=wanted
    )
    np.testing.assert_allclose(answer.as_numpy("logits"), logits(server, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_classification(client: sync.InferenceServerClient, server: BackgroundServer, binary: bool) -> None:
    wanted = [sync.InferRequestedOutput("logits", binary_data=binary, class_count=2)]
    named = client.infer("affine", [tensor(X)], outputs=wanted).as_numpy("logits")
    assert named.shape == (2, 2)
    best = named[0][0] if isinstance(named[0][0], bytes) else named[0][0].encode()
    score, index, label = best.decode().split(":")
    truth = logits(server)[0]
    assert int(index) == truth.argmax()
    assert float(score) == pytest.approx(truth.max(), abs=1e-5)
    assert label == ("cat", "dog", "owl")[truth.argmax()]


@pytest.mark.parametrize("binary", [True, False])
def test_text(client: sync.InferenceServerClient, binary: bool) -> None:
    words = np.array([["one", "zwölf"], ["", "four"]], np.object_)
    answer = client.infer("text", [tensor(words, binary=binary, datatype="BYTES")]).as_numpy("y")
    assert [[word.decode() for word in row] for row in answer] == words.tolist()


def test_half_precision_travels_in_binary_only(client: sync.InferenceServerClient) -> None:
    x = np.array([[1.5, -2.0]], np.float16)
    assert client.infer("half", [tensor(x, datatype="FP16")]).as_numpy("y").tolist() == x.tolist()
    with pytest.raises(InferenceServerException, match="FP16"):
        client.infer("half", [tensor(x, binary=False, datatype="FP16")])
    wanted = [sync.InferRequestedOutput("y", binary_data=False)]
    with pytest.raises(InferenceServerException, match="FP16"):
        client.infer("half", [tensor(x, datatype="FP16")], outputs=wanted)


def test_infinity_travels_in_binary_only(client: sync.InferenceServerClient) -> None:
    x = np.array([[np.inf, np.nan]], np.float32)
    assert np.array_equal(client.infer("float", [tensor(x)]).as_numpy("y"), x, equal_nan=True)
    with pytest.raises(InferenceServerException, match="binary"):
        client.infer("float", [tensor(x)], outputs=[sync.InferRequestedOutput("y", binary_data=False)])


def test_open_and_fixed_shapes(client: sync.InferenceServerClient, server: BackgroundServer) -> None:
    for length in (1, 7):
        x = np.arange(2 * length, dtype=np.int32).reshape(2, length)
        assert np.array_equal(client.infer("open", [tensor(x, datatype="INT32")]).as_numpy("y"), x)
    whole = np.array([[1, 2, 3]], np.uint8)
    assert np.array_equal(client.infer("whole", [tensor(whole, datatype="UINT8")]).as_numpy("y"), whole)
    x = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    answer = client.infer("fixed", [tensor(x)]).as_numpy("logits")
    np.testing.assert_allclose(answer, logits(server, x, "fixed", 1), rtol=1e-5)


def test_more_rows_than_a_batch(client: sync.InferenceServerClient, server: BackgroundServer) -> None:
    x = np.random.default_rng(1).normal(size=(100, 4)).astype(np.float32)
    np.testing.assert_allclose(client.infer("affine", [tensor(x)]).as_numpy("logits"), logits(server, x), rtol=1e-4)


def test_ready_made_bodies(client: sync.InferenceServerClient, server: BackgroundServer) -> None:
    import httpx

    body, length = sync.InferenceServerClient.generate_request_body([tensor(X)])
    headers = {"Inference-Header-Content-Length": str(length), "Accept-Encoding": "identity"}
    response = httpx.post(f"{server.url}/v2/models/affine/infer", content=body, headers=headers)
    size = int(response.headers["Inference-Header-Content-Length"])
    answer = sync.InferenceServerClient.parse_response_body(response.content, header_length=size)
    np.testing.assert_allclose(answer.as_numpy("logits"), logits(server), rtol=1e-6)


def test_many_at_once_each_with_its_own_numbers(address: str, server: BackgroundServer) -> None:
    rng = np.random.default_rng(2)
    inputs = [rng.normal(size=(1 + index % 5, 4)).astype(np.float32) for index in range(40)]
    with sync.InferenceServerClient(address, concurrency=8) as client:
        asked = [client.async_infer("affine", [tensor(x)], request_id=str(index)) for index, x in enumerate(inputs)]
        for index, (x, handle) in enumerate(zip(inputs, asked, strict=True)):
            answer = handle.get_result()
            assert answer.get_response()["id"] == str(index)
            np.testing.assert_allclose(answer.as_numpy("logits"), logits(server, x), rtol=1e-4, atol=1e-5)


def test_custom_parameters_and_timeout(client: sync.InferenceServerClient) -> None:
    client.infer("affine", [tensor(X)], timeout=10_000_000, priority=1, parameters={"mine": "x", "number": 1})
    with pytest.raises(InferenceServerException, match="reserved"):
        client.infer("affine", [tensor(X)], sequence_id=5, sequence_start=True)


def test_repository(client: sync.InferenceServerClient) -> None:
    index = client.get_model_repository_index()
    assert {"name": "affine", "version": "1", "state": "READY", "reason": ""} in index
    assert len(index) == 8
    client.load_model("affine")
    assert client.is_model_ready("affine")
    client.unload_model("open")
    assert not client.is_model_ready("open")
    assert client.is_server_ready()
    states = {(entry["name"], entry["state"], entry["reason"]) for entry in client.get_model_repository_index()}
    assert ("open", "UNAVAILABLE", "unloaded") in states
    with pytest.raises(InferenceServerException, match="Request for unknown model"):
        client.infer("open", [tensor(np.zeros((1, 1), np.int32), datatype="INT32")])
    client.load_model("open")
    assert client.is_model_ready("open")
    with pytest.raises(InferenceServerException, match="failed to load 'wrong_model_name', ") as caught:
        client.load_model("wrong_model_name")
    assert caught.value.status() == "400"
    with pytest.raises(InferenceServerException, match="failed to unload 'wrong_model_name', "):
        client.unload_model("wrong_model_name")
    with pytest.raises(InferenceServerException, match="failed to load 'affine', "):
        client.load_model("affine", config="{}")


def test_what_is_not_advertised_is_not_there(client: sync.InferenceServerClient) -> None:
    for call in (client.get_system_shared_memory_status, client.get_trace_settings, client.get_log_settings):
        with pytest.raises(InferenceServerException) as caught:
            call()
        assert caught.value.status() == "404"


def test_the_aio_client(address: str, server: BackgroundServer) -> None:
    async def scene() -> None:
        async with aio.InferenceServerClient(address) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("affine")
            assert (await client.get_server_metadata())["name"] == "wherry"
            assert (await client.get_model_metadata("affine"))["versions"] == ["1", "2"]
            assert (await client.get_model_config("affine"))["max_batch_size"] == 32
            assert len(await client.get_model_repository_index()) == 8
            assert (await client.get_inference_statistics("affine"))["model_stats"]
            await client.load_model("fixed")
            with pytest.raises(InferenceServerException, match="Request for unknown model: 'x' is not found"):
                await client.get_model_metadata("x")
            for how in (None, "gzip", "deflate"):
                asked = {"request_compression_algorithm": how, "response_compression_algorithm": how}
                inputs = [np.full((1, 4), value, np.float32) for value in range(20)]
                answers = await asyncio.gather(*(client.infer("affine", [tensor(x)], **asked) for x in inputs))
                for x, answer in zip(inputs, answers, strict=True):
                    np.testing.assert_allclose(answer.as_numpy("logits"), logits(server, x), rtol=1e-5)

    asyncio.run(scene())
