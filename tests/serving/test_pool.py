import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serving.affine import (
    AFFINE_SPEC,
    FEATURES,
    AffineEngine,
    affine_model,
    echo_model,
    echo_spec,
    expected,
    write_affine,
)
from wherry.core.digest import FileRef, sha256_hex
from wherry.core.errors import BadInputError, EngineError, NotFoundError, ProofRefusedError
from wherry.core.variant import Receipt, Target, Variant
from wherry.proof.golden import GoldenSet
from wherry.serving.loading import zeros
from wherry.serving.model import ServedModel
from wherry.serving.pool import Pool, State
from wherry.serving.server import BackgroundServer

GOOD: dict[str, Any] = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 1, 2, 3]}]}


def with_golden(folder: Path, *, honest: bool = True, **changes: Any) -> ServedModel:
    """A model with a golden set; a dishonest one was recorded from other weights."""
    plain = affine_model(folder, seed=4, **changes)
    reference = plain.main if honest else write_affine(folder / "other.npz", seed=5)
    raw = np.random.default_rng(0).normal(size=(16, FEATURES)).astype(np.float32)
    logits = expected(reference, raw)
    golden = GoldenSet(raw=raw, references={"logits": logits, "best": logits.argmax(axis=1).astype(np.float32)})
    data = golden.to_bytes()
    path = folder / "golden.npz"
    path.write_bytes(data)
    variant = Variant(
        model=plain.name,
        version=plain.version,
        version_digest="0" * 64,
        target=Target(format="affine"),
        engine="affine",
        files=(FileRef.of(plain.main.name, plain.main.read_bytes()),),
        batch=None,
        receipt=Receipt(created_at="", source="", tools={}, requested={}, effective={}),
    )
    fields = {"golden": path, "golden_sha256": sha256_hex(data), "variant": variant, "main": plain.main}
    return affine_model(folder, **fields, **changes)


def run(pool: Pool, scene: Any) -> None:
    async def whole() -> None:
        await pool.start()
        try:
            await scene()
        finally:
            await pool.stop()

    asyncio.run(whole())


@pytest.mark.parametrize(
    "changes",
    [{"name": "a/b"}, {"name": ""}, {"name": "stats"}, {"version": 0}, {"golden": Path("x")}],
)
def test_models_that_cannot_be_served(tmp_path: Path, changes: Any) -> None:
    with pytest.raises(BadInputError):
        affine_model(tmp_path, **changes)


def test_pools_that_cannot_be(tmp_path: Path) -> None:
    model = affine_model(tmp_path)
    for models, limits in (([], {}), ([model, model], {}), ([model], {"max_queue": 0}), ([model], {"max_batch": 0})):
        with pytest.raises(BadInputError):
            Pool(models, **limits)


def test_a_model_is_warm_before_it_answers_and_telemetry_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    seen: list[Any] = []
    monkeypatch.setattr(AffineEngine, "_infer", _spy(AffineEngine._infer, seen))
    pool = Pool([affine_model(tmp_path)])
    assert not pool.ready
    assert "loading" in pool.why_not_ready()

    async def scene() -> None:
        assert pool.ready
        assert [rows for rows, _ in seen] == [1]

    run(pool, scene)
    assert [setting for _, setting in seen] == ["1"]
    assert AffineEngine.closed[-1] == tmp_path / "affine-1.npz"


def _spy(original: Any, seen: list[Any]) -> Any:
    def spy(self: Any, inputs: Any) -> Any:
        seen.append((len(inputs["x"]), os.environ.get("ORT_DISABLE_TELEMETRY")))
        return original(self, inputs)

    return spy


def test_zeros() -> None:
    assert zeros(echo_spec("int32", "batch", "length"), 2) is None
    assert zeros(echo_spec("int32", 1, 2), 7)["x"].tolist() == [[0, 0]]
    assert zeros(echo_spec("object"), 1)["x"].tolist() == [[b"", b""]]


def test_the_self_test_is_the_proof(tmp_path: Path) -> None:
    pool = Pool([with_golden(tmp_path)])

    async def scene() -> None:
        assert pool.ready

    run(pool, scene)


@pytest.mark.slow
def test_what_fails_its_self_test_never_answers(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    bad = with_golden(tmp_path, honest=False)
    running = BackgroundServer([bad, affine_model(tmp_path / "good", name="good")], require_ready=False)
    with running as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/v2/health/live").status_code == 200
        for path in (
            "/v2/health/ready",
            "/v2/models/affine/ready",
            "/v2/models/affine",
            "/v2/models/affine/config",
        ):
            response = client.get(path)
            assert response.status_code == 503
            assert "did not pass its self-test" in response.json()["error"]
        refused = client.post("/v2/models/affine/infer", json=GOOD)
        assert refused.status_code == 503
        assert "Retry-After" not in refused.headers
        index = {entry["name"]: entry for entry in client.post("/v2/repository/index").json()}
        assert index["affine"]["state"] == "UNAVAILABLE"
        assert "output_mismatch" in index["affine"]["reason"]
        assert [entry["name"] for entry in client.post("/v2/repository/index", json={"ready": True}).json()] == ["good"]
        assert client.post("/v2/models/good/infer", json=GOOD).status_code == 200
        assert 'wherry_model_ready{model="affine",version="1"} 0.0' in client.get("/metrics").text
        # Mended on disk, it comes up.
        write_affine(bad.main, seed=5)
        assert client.post("/v2/repository/models/affine/load").status_code == 200
        assert client.get("/v2/health/ready").status_code == 200


@pytest.mark.slow
def test_a_background_server_says_why_it_does_not_come_up(tmp_path: Path) -> None:
    with pytest.raises(ProofRefusedError, match="self-test"), BackgroundServer([with_golden(tmp_path, honest=False)]):
        pass
    missing = affine_model(tmp_path, name="gone")
    missing.main.unlink()
    with pytest.raises(EngineError, match="does not exist"), BackgroundServer([missing]):
        pass
    unknown = affine_model(tmp_path, name="unknown", engine="steam")
    with pytest.raises(NotFoundError, match="steam"), BackgroundServer([unknown]):
        pass
    strange = echo_model(tmp_path, "strange", "complex64")
    with pytest.raises(BadInputError, match="complex64"), BackgroundServer([strange]):
        pass


@pytest.mark.slow
def test_what_cannot_run_a_batch_does_not_come_up(tmp_path: Path) -> None:
    broken = affine_model(tmp_path)
    np.savez(broken.main, weight=np.zeros((9, 9)), bias=np.zeros(1), load_seconds=0.0)
    closed = len(AffineEngine.closed)
    with pytest.raises(EngineError, match="failed while running"), BackgroundServer([broken]):
        pass
    assert len(AffineEngine.closed) == closed + 1


def test_loading_again_swaps_and_frees_the_old(tmp_path: Path) -> None:
    model = affine_model(tmp_path, seed=1)
    x = np.ones((1, FEATURES), np.float32)
    pool = Pool([model])

    async def scene() -> None:
        entry = pool.find("affine")
        before = expected(model.main, x)
        closed = len(AffineEngine.closed)
        write_affine(model.main, seed=2)
        assert np.allclose((await entry.batcher().run({"x": x}, 1))["logits"], before)
        await pool.load("affine")
        after = expected(model.main, x)
        assert not np.allclose(before, after)
        assert np.allclose((await entry.batcher().run({"x": x}, 1))["logits"], after)
        await pool.load("affine")
        assert len(AffineEngine.closed) >= closed + 1

    run(pool, scene)


def test_a_failed_load_leaves_the_old_one_serving(tmp_path: Path) -> None:
    model = affine_model(tmp_path, seed=1)
    x = np.ones((1, FEATURES), np.float32)
    pool = Pool([model, affine_model(tmp_path, version=2)])

    async def scene() -> None:
        before = expected(model.main, x)
        pool.find("affine", "2").model.main.write_bytes(b"broken")
        with pytest.raises(BadInputError, match="failed to load 'affine', version 2: affine cannot load"):
            await pool.load("affine")
        assert pool.ready
        assert pool.find("affine", "1").state is State.READY
        assert np.allclose((await pool.find("affine", "1").batcher().run({"x": x}, 1))["logits"], before)

    run(pool, scene)


def test_unloading_and_finding(tmp_path: Path) -> None:
    pool = Pool([affine_model(tmp_path), affine_model(tmp_path, version=2), affine_model(tmp_path, name="other")])

    async def scene() -> None:
        assert pool.find("affine").model.version == 2
        await pool.unload("other")
        assert pool.ready
        with pytest.raises(NotFoundError, match="Request for unknown model"):
            pool.find("other").batcher()
        for wrong in (("nobody", None), ("affine", "3"), ("affine", "v1")):
            with pytest.raises(NotFoundError, match="Request for unknown model"):
                pool.find(*wrong)
        await pool.load("other")
        assert pool.find("other").ready

    run(pool, scene)
    assert not pool.ready
    assert "about to stop" in pool.why_not_ready()


def test_a_surprise_while_opening_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def surprise(*_: Any, **__: Any) -> None:
        msg = "out of paper"
        raise OSError(msg)

    monkeypatch.setattr("wherry.serving.pool.open_model", surprise)
    pool = Pool([affine_model(tmp_path)])

    async def scene() -> None:
        assert "out of paper" in pool.why_not_ready()

    run(pool, scene)


@pytest.mark.slow
def test_a_slow_load_blocks_nobody(tmp_path: Path) -> None:
    slow = affine_model(tmp_path, load_seconds=1.0)
    with BackgroundServer([slow]) as server, httpx.Client(base_url=server.url) as client:

        async def scene() -> None:
            async with httpx.AsyncClient(base_url=server.url) as caller:
                loading = asyncio.create_task(caller.post("/v2/repository/models/affine/load"))
                answered = 0
                while not loading.done():
                    response = await caller.post("/v2/models/affine/infer", json=GOOD)
                    assert response.status_code == 200
                    assert (await caller.get("/v2/health/ready")).status_code == 200
                    answered += not loading.done()
                assert (await loading).status_code == 200
                assert answered >= 10

        asyncio.run(scene())
        assert client.get("/v2/models/affine/stats").json()["model_stats"][0]["inference_stats"]["fail"]["count"] == 0


def test_the_spec_of_the_tests_is_what_the_engine_gives(tmp_path: Path) -> None:
    engine = AffineEngine(write_affine(tmp_path / "a.npz"), AFFINE_SPEC)
    assert list(engine.run({"x": np.zeros((1, FEATURES), np.float32)})) == ["logits", "best"]
