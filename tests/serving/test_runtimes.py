"""A real ONNX file behind the server: what comes over HTTP is what the engine gives in process."""

from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from tests.serving.affine import echo_model, echo_spec
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import NULL_CONTENT
from wherry.serving.model import ServedModel
from wherry.serving.server import BackgroundServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def onnx_model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, checker, helper, numpy_helper, save

    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    weight = np.random.default_rng(0).normal(size=(2, 2)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(made)
    save(made, path)
    return ServedModel(name="dense", version=1, spec=echo_spec("float32"), engine="onnxruntime", main=path)


def test_over_http_and_in_process_are_the_same(onnx_model: ServedModel, tmp_path: Path) -> None:
    (tmp_path / "null.bin").write_bytes(NULL_CONTENT)
    null = ServedModel(
        name="null", version=1, spec=echo_spec("float32"), engine="null", main=tmp_path / "null.bin", batch=2
    )
    x = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32)
    with BackgroundServer([onnx_model, null], threads=1) as server:
        assert httpx.get(f"{server.url}/v2/models/dense").json()["platform"] == "onnx_onnxv1"
        with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
            for model in (onnx_model, null):
                given = triton.InferInput("x", [50, 2], "FP32")
                given.set_data_from_numpy(x)
                with engine_class(model.engine)(model.main, model.spec, batch=model.batch) as engine:
                    truth = engine.run({"x": x})["y"]
                answer = client.infer(model.name, [given]).as_numpy("y")
                np.testing.assert_allclose(answer, truth, rtol=1e-6, atol=1e-6)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    model = echo_model(tmp_path, "broken", "float32")
    broken = ServedModel(name="broken", version=1, spec=model.spec, engine="onnxruntime", main=model.main)
    with BackgroundServer([broken], require_ready=False) as server:
        said = httpx.get(f"{server.url}/v2/models/broken/ready")
        assert said.status_code == 503
        assert "onnxruntime cannot load echo.bin" in said.json()["error"]
