"""Small ONNX networks with heads like those of the YOLO family, made without torch."""

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from wherry.core.model import ModelSpec, Preprocessing, TensorSpec

SIZE, BINS = 32, 4
IMAGE = Preprocessing(kind="image", size=(SIZE, SIZE), scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.2))


class Graph:
    """Nodes and weights, one call each."""

    def __init__(self) -> None:
        self.nodes, self.weights = [], []
        self._dice = np.random.default_rng(3)

    def constant(self, name: str, values) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, name: str, *inputs: str, outputs=None, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), outputs or [name], name=f"n_{name}", **attributes))
        return name

    def conv(self, name: str, source: str, channels: tuple[int, int], kernel: int, stride: int = 1) -> str:
        out, into = channels
        weights = self._dice.normal(0, 0.2, (out, into, kernel, kernel)).astype(np.float32)
        return self.node("Conv", name, source, self.constant(f"{name}_w", weights), strides=[stride] * 2)

    def model(self, inputs, outputs, opset: int = 18) -> ModelProto:
        graph = helper.make_graph(self.nodes, "g", list(map(value, inputs)), list(map(value, outputs)), self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
        checker.check_model(made)
        return made


def value(tensor: TensorSpec):
    return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.shape)


def detector(classes: int, masks: int = 0) -> tuple[ModelProto, ModelSpec]:
    """A head that joins boxes and classes scale by scale and takes them apart again, with a dynamic batch."""
    graph, scales = Graph(), ((8, 4), (16, 2))
    regression = 4 * BINS
    joined, anchors, strides = [], [], []
    trunk = graph.node("Relu", "trunk", graph.conv("stem", "images", (6, 3), 8, 8))
    for stride, cells in scales:
        trunk = trunk if stride == 8 else graph.node("Relu", "deeper", graph.conv("down", trunk, (6, 6), 2, 2))
        parts = [graph.conv(f"b{stride}", trunk, (regression, 6), 1), graph.conv(f"c{stride}", trunk, (classes, 6), 1)]
        parts += [graph.conv(f"m{stride}", trunk, (masks, 6), 1)] if masks else []
        whole = graph.node("Concat", f"whole{stride}", *parts, axis=1)
        shape = graph.constant(f"shape{stride}", np.array([0, regression + classes + masks, cells**2]))
        joined.append(graph.node("Reshape", f"flat{stride}", whole, shape))
        rows, columns = np.meshgrid(np.arange(cells) + 0.5, np.arange(cells) + 0.5, indexing="ij")
        anchors.append(np.stack([columns.ravel(), rows.ravel()]))
        strides.append(np.full((1, cells**2), stride))
    every = graph.node("Concat", "every", *joined, axis=2)
    sizes = [regression, classes, *([masks] if masks else [])]
    names = ["sides", "marks", *(["coefficients"] if masks else [])]
    graph.node("Split", "split", every, graph.constant("sizes", np.array(sizes)), outputs=names, axis=1)
    four = graph.node("Reshape", "four", "sides", graph.constant("s4", np.array([0, 4, BINS, 20])))
    turned = graph.node("Transpose", "turned", four, perm=[0, 2, 1, 3])
    chances = graph.node("Softmax", "chances", turned, axis=1)
    counting = graph.constant("counting", np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1))
    mean = graph.node("Conv", "mean", chances, counting)
    lengths = graph.node("Reshape", "lengths", mean, graph.constant("s3", np.array([0, 4, 20])))
    graph.node(
        "Split", "halves", lengths, graph.constant("two", np.array([2, 2])), outputs=["to_low", "to_high"], axis=1
    )
    centre = graph.constant("centre", np.concatenate(anchors, axis=1)[np.newaxis].astype(np.float32))
    low, high = graph.node("Sub", "low", centre, "to_low"), graph.node("Add", "high", centre, "to_high")
    middle = graph.node("Mul", "middle", graph.node("Add", "sum", low, high), graph.constant("half", np.float32(0.5)))
    cells_box = graph.node("Concat", "cells_box", middle, graph.node("Sub", "extent", high, low), axis=1)
    graph.node("Mul", "boxes", cells_box, graph.constant("strides", np.concatenate(strides, 1).astype(np.float32)))
    graph.node("Sigmoid", "scores", "marks")
    outputs = [("boxes", (4, 20)), ("scores", (classes, 20))]
    if masks:
        outputs += [("coefficients", (masks, 20)), ("prototypes", (masks, 4, 4))]
        graph.node("Relu", "prototypes", graph.conv("proto", "trunk", (masks, 6), 1))
    spec = ModelSpec(
        task="detection",
        inputs=(TensorSpec(name="images", dtype="float32", shape=("batch", 3, SIZE, SIZE)),),
        outputs=tuple(TensorSpec(name=name, dtype="float32", shape=("batch", *shape)) for name, shape in outputs),
        preprocessing=IMAGE,
        postprocessing="nms",
        class_names=tuple(f"class {index}" for index in range(classes)),
    )
    return graph.model(spec.inputs, spec.outputs), spec


def classifier() -> tuple[ModelProto, ModelSpec]:
    """A convolution, a mean over the image and a dense layer."""
    graph = Graph()
    pooled = graph.node("GlobalAveragePool", "pooled", graph.node("Relu", "act", graph.conv("stem", "x", (5, 3), 3)))
    flat = graph.node("Flatten", "flat", pooled)
    graph.node("Gemm", "dense", flat, graph.constant("w", np.eye(5, 3, dtype=np.float32)))
    graph.node("Identity", "logits", "dense")
    spec = ModelSpec(
        task="classification",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 3, SIZE, SIZE)),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),),
        preprocessing=IMAGE,
    )
    return graph.model(spec.inputs, spec.outputs, opset=11), spec


def encoder() -> tuple[ModelProto, ModelSpec]:
    """A channels-last sequence of 9 channels that the network turns first, as of a motion sensor."""
    graph = Graph()
    turned = graph.node("Transpose", "turned", "window", perm=[0, 2, 1])
    weights = np.random.default_rng(1).normal(size=(6, 9, 3)).astype(np.float32)
    made = graph.node("Conv", "time", turned, graph.constant("w", weights))
    pooled = graph.node("GlobalAveragePool", "pooled", graph.node("Relu", "act", made))
    graph.node("Flatten", "embedding", pooled)
    spec = ModelSpec(
        task="embedding",
        inputs=(TensorSpec(name="window", dtype="float32", shape=(1, 20, 9)),),
        outputs=(TensorSpec(name="embedding", dtype="float32", shape=(1, 6)),),
        preprocessing=Preprocessing(mean=tuple(range(9)), std=tuple(1.0 + index for index in range(9)), layout="NHWC"),
    )
    return graph.model(spec.inputs, spec.outputs, opset=11), spec
