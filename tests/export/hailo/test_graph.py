"""Where networks are cut: small look-alikes here, the real heads of the YOLO family in the slow tests."""

import contextlib
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.export.hailo import networks
from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.export.hailo.graph import GraphFacts, graph_facts
from wherry.export.hailo.network import ends_of, fixed_network
from wherry.export.hailo.plan import Settings, normalization, plan
from wherry.runtime.hailo_tensors import decode_boxes, from_chip, join_maps


def facts_of(model: onnx.ModelProto, spec: ModelSpec, folder: Path) -> tuple[GraphFacts, onnx.ModelProto]:
    onnx.save(model, folder / "m.onnx")
    fixed = fixed_network(folder / "m.onnx")
    return graph_facts(fixed, spec), fixed


def rebuilt(facts: GraphFacts, fixed: onnx.ModelProto, spec: ModelSpec, images: np.ndarray) -> dict[str, np.ndarray]:
    """The spec's outputs from the ends alone, as the engine makes them on the host."""
    parts = list(zip(facts.ends, ends_of(fixed, facts.ends, {facts.input: images}), strict=True))
    found = {}
    for tensor in spec.outputs:
        maps = {end.stride: array for end, array in parts if end.output == tensor.name}
        role = next(end.role for end in facts.ends if end.output == tensor.name)
        if role == "boxes":
            found[tensor.name] = decode_boxes(maps)
        elif role in ("scores", "coefficients"):
            found[tensor.name] = join_maps(maps)
        else:
            found[tensor.name] = from_chip(maps[None], tensor.shape)
    return found


def check(model: onnx.ModelProto, spec: ModelSpec, folder: Path) -> GraphFacts:
    """The ends hold everything: decoded on the host they give what the whole network gives."""
    facts, fixed = facts_of(model, spec, folder)
    images = np.random.default_rng(0).random((1, *spec.inputs[0].shape[1:]), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(folder / "m.onnx"), providers=["CPUExecutionProvider"])
    wanted = session.run([tensor.name for tensor in spec.outputs], {facts.input: images})
    found = rebuilt(facts, fixed, spec, images)
    for tensor, reference in zip(spec.outputs, wanted, strict=True):
        np.testing.assert_allclose(found[tensor.name], reference, atol=1e-3, rtol=1e-4)
    return facts


@pytest.mark.parametrize(
    ("classes", "masks"),
    [(3, 0), (3, 2), (4 * networks.BINS, 0), (2, 2)],
    ids=["plain", "masks", "as many classes as bins", "as many masks as classes"],
)
def test_the_head_is_cut_at_its_last_convolutions(tmp_path: Path, classes: int, masks: int):
    facts = check(*networks.detector(classes, masks), tmp_path)
    roles = ("boxes", "scores", *(["coefficients"] if masks else []))
    wanted = [(role, stride) for stride in (8, 16) for role in roles] + ([("prototypes", None)] if masks else [])
    assert [(end.role, end.stride) for end in facts.ends] == wanted
    names = {"boxes": "n_b", "scores": "n_c", "coefficients": "n_m"}
    assert all(end.node == f"{names[end.role]}{end.stride}" for end in facts.ends if end.stride)
    assert facts.regression == networks.BINS


def test_other_networks_are_cut_at_what_computes_their_outputs(tmp_path: Path):
    facts = check(*networks.classifier(), tmp_path)
    assert [(end.role, end.shape) for end in facts.ends] == [("output", (1, 3))]
    assert (facts.start, facts.regression, facts.opset) == ("x", None, 11)
    assert facts.ends[0].node == "n_dense"


def test_a_turn_of_a_sequence_is_left_out(tmp_path: Path):
    facts = check(*networks.encoder(), tmp_path)
    assert (facts.start, facts.channels_last) == ("n_time", True)
    made = plan(facts, networks.encoder()[1], Settings(), name="e", samples=2000)
    assert made.calibration.shape == (1, 20, 9)
    assert not any("lowers" in note for note in made.notes)


def test_what_a_plan_refuses(tmp_path: Path):
    facts, _ = facts_of(*networks.encoder(), tmp_path)
    spec = networks.encoder()[1]
    with pytest.raises(BadInputError, match="'abacus' is no Hailo chip"):
        plan(facts, spec, Settings(architecture="abacus"), name="e", samples=1)
    turned = ModelSpec(task="t", inputs=spec.inputs, outputs=spec.outputs, preprocessing=Preprocessing(mean=(1.0, 2.0)))
    with pytest.raises(BadInputError, match="another axis"):
        plan(facts, turned, Settings(), name="e", samples=1)


def test_normalisation_in_raw_numbers():
    assert normalization(Preprocessing()) is None
    assert normalization(Preprocessing(kind="image", scale=1 / 255)) == ((0.0,) * 3, (255.0,) * 3)
    assert normalization(Preprocessing(mean=(2.0,), std=(4.0,), scale=0.5)) == ((4.0,), (8.0,))


def test_a_dynamic_axis_and_a_shape_nobody_knows_are_refused(tmp_path: Path):
    model, spec = networks.classifier()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(BadInputError, match="Axis 'height' of 'x' is dynamic"):
        fixed_network(tmp_path / "m.onnx")
    del model.graph.output[:]
    model.graph.output.append(networks.value(spec.outputs[0]))
    with pytest.raises(BadInputError, match="is not known"):
        graph_facts(model, spec)


REAL = {
    "yolov8n": [(role, stride) for stride in (8, 16, 32) for role in ("boxes", "scores")],
    "yolov8n-seg": [
        *((role, stride) for stride in (8, 16, 32) for role in ("boxes", "scores", "coefficients")),
        ("prototypes", None),
    ],
}


@pytest.fixture(scope="session", params=REAL)
def yolo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """An untrained network of ultralytics as ONNX, its name, and the model spec; nothing is downloaded."""
    folder = tmp_path_factory.mktemp("yolo")
    os.environ |= {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "1"}
    import torch
    from ultralytics.nn.tasks import DetectionModel, SegmentationModel

    masks = request.param.endswith("-seg")
    with contextlib.redirect_stdout(None):
        network = (SegmentationModel if masks else DetectionModel)(f"{request.param}.yaml", verbose=False).eval()
    network.model[-1].export, network.model[-1].format = True, "onnx"

    class Apart(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, images):
            if masks:
                joined, prototypes = self.network(images)
                return joined[:, :4], joined[:, 4:84], joined[:, 84:], prototypes
            joined = self.network(images)
            return joined[:, :4], joined[:, 4:]

    example, outputs = torch.rand(1, 3, 160, 160), [("boxes", (4, 525)), ("scores", (80, 525))]
    if masks:
        outputs += [("coefficients", (32, 525)), ("prototypes", (32, 40, 40))]
    with torch.no_grad():
        Apart()(example)  # makes the anchors outside of the capture
    torch.onnx.export(
        torch.export.export(Apart(), (example,)),
        (),
        dynamo=True,
        input_names=["images"],
        output_names=[name for name, _ in outputs],
        external_data=False,
        verbose=False,
    ).save(str(folder / "yolo.onnx"))
    spec = ModelSpec(
        task="detection",
        inputs=(TensorSpec(name="images", dtype="float32", shape=(1, 3, 160, 160)),),
        outputs=tuple(TensorSpec(name=name, dtype="float32", shape=(1, *shape)) for name, shape in outputs),
        preprocessing=Preprocessing(kind="image", size=(160, 160), scale=1 / 255),
    )
    return request.param, onnx.load(folder / "yolo.onnx"), spec


@pytest.mark.slow
def test_real_heads_are_cut_where_they_can_be_put_together_again(yolo, tmp_path: Path):
    name, model, spec = yolo
    facts = check(model, spec, tmp_path)
    assert [(end.role, end.stride) for end in facts.ends] == REAL[name]
    assert facts.regression == 16
    assert {end.shape[1] for end in facts.ends if end.role == "scores"} == {80}
