"""A stand-in for Hailo's compiler: its names, its signatures and its order of states, and the float network inside.

It refuses what the real one refuses: a call in the wrong state, nodes and layers that are not there, a calibration set
of another shape. Its emulator runs the ONNX file on normalised input, with a little noise for the quantization.
"""

import enum
import logging
import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

LOG = logging.getLogger("hailo_sdk.optimization")
LOG.propagate = False
CALLS: list[str] = []


class InvalidStateError(Exception):
    """A call in the wrong state."""


class ScriptParserError(Exception):
    """A model script that cannot be read."""


class States(enum.Enum):
    UNINITIALIZED = "uninitialized"
    HAILO_MODEL = "hailo_model"
    QUANTIZED_MODEL = "quantized_model"
    COMPILED_MODEL = "compiled_model"


class InferenceContext(enum.Enum):
    SDK_NATIVE = "sdk_native"
    SDK_FP_OPTIMIZED = "sdk_fp_optimized"
    SDK_QUANTIZED = "sdk_quantized"
    SDK_HAILO_HW = "sdk_hailo_hw"


class ClientRunner:
    def __init__(self, hw_arch=None, har=None):
        if hw_arch not in ("hailo8", "hailo8l", "hailo10h", "hailo15h"):
            raise ValueError(f"unknown hw_arch {hw_arch}")
        self.state = States.UNINITIALIZED
        self._script = ""

    def _expect(self, *states: States):
        if self.state not in states:
            raise InvalidStateError(f"{self.state} and not {states}")

    def translate_onnx_model(
        self, model=None, net_name="model", start_node_names=None, end_node_names=None, net_input_shapes=None
    ):
        self._expect(States.UNINITIALIZED)
        CALLS.append("translate")
        assert isinstance(model, str)
        assert re.fullmatch(r"\w+", net_name)
        self._name, self._model = net_name, onnx.load(model)
        nodes = {node.name: node for node in self._model.graph.node}
        inputs = {tensor.name for tensor in self._model.graph.input}
        for start in start_node_names:
            if start not in nodes and start not in inputs:
                raise KeyError(start)
        assert list(net_input_shapes) == start_node_names
        self._ends = [nodes[name] for name in end_node_names]
        self._shape = net_input_shapes[start_node_names[0]]
        self._layers = {}
        for index, node in enumerate(self._model.graph.node):
            kind = "conv" if node.op_type == "Conv" else "normal"
            self._layers[f"{net_name}/{node.op_type.lower()}{index}"] = {"type": kind, "original_names": [node.name]}
        for index, node in enumerate(self._ends):
            self._layers[f"{net_name}/output_layer{index + 1}"] = {
                "type": "output_layer",
                "original_names": [node.name],
            }
        self.state = States.HAILO_MODEL
        return {"name": net_name}, {}

    def get_hn(self):
        self._expect(States.HAILO_MODEL)
        return {"name": self._name, "layers": self._layers}

    def save_har(self, path):
        assert isinstance(path, str)
        CALLS.append(f"save_har {Path(path).name}")
        Path(path).write_bytes(b"har")

    def load_model_script(self, model_script, append=False):
        self._expect(States.HAILO_MODEL)
        CALLS.append("load_model_script")
        own = {name.rpartition("/")[2] for name in self._layers}
        for layer in re.findall(r"change_output_activation\((.*?), ", model_script):
            if layer not in own:
                raise ScriptParserError(layer)
        for path in re.findall(r'nms_postprocess\("(.*?)"', model_script):
            for layer in re.findall(r'_layer": "(.*?)"', Path(path).read_text()):
                if layer not in self._layers:
                    raise ScriptParserError(layer)
        self._script = model_script

    def optimize(self, calib_data):
        self._expect(States.HAILO_MODEL)
        CALLS.append("optimize")
        shape = self._shape
        height_width = shape[2:] if len(shape) == 4 else [1, *shape[2:]]
        if list(calib_data.shape[1:]) != [*height_width, shape[1]]:
            raise ValueError(f"calibration of shape {calib_data.shape} for {shape}")
        if len(calib_data) < 1024:
            LOG.warning(
                "Reducing optimization level to 0 (the accuracy won't be optimized and compression won't be used) "
                "because there's less data than the recommended amount (1024)"
            )
        self.state = States.QUANTIZED_MODEL

    @contextmanager
    def infer_context(self, context):
        self._expect(States.QUANTIZED_MODEL, States.COMPILED_MODEL)
        assert context is InferenceContext.SDK_QUANTIZED
        yield context

    def infer(self, context, dataset, batch_size=8, data_count=None):
        CALLS.append("infer")
        found = re.search(r"normalization\((\[.*?\]), (\[.*?\])\)", self._script)
        mean, std = ([float(n) for n in text.strip("[]").split(", ")] for text in found.groups())
        images = np.moveaxis((dataset - np.array(mean)) / np.array(std), -1, 1).astype(np.float32)
        tensor = self._model.graph.input[0]
        wanted = [axis.dim_value for axis in tensor.type.tensor_type.shape.dim]
        if len(wanted) == 3:  # a sequence of height one, and the network turns it itself
            images = np.swapaxes(images[:, :, 0], 1, 2)
        cut = onnx.ModelProto()
        cut.CopyFrom(self._model)
        names = [node.output[0] for node in self._ends]
        for name in set(names) - {value.name for value in cut.graph.output}:
            cut.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        session = onnxruntime.InferenceSession(cut.SerializeToString(), providers=["CPUExecutionProvider"])
        rows = [session.run(names, {tensor.name: images[row : row + 1]}) for row in range(len(images))]
        dice, answers = np.random.default_rng(0), []
        for node, parts in zip(self._ends, zip(*rows, strict=True), strict=True):
            array = np.concatenate(parts)
            layer = next(k for k, v in self._layers.items() if node.name in v["original_names"]).rpartition("/")[2]
            if f"change_output_activation({layer}, sigmoid)" in self._script:
                array = 1 / (1 + np.exp(-array))
            array = np.moveaxis(array, 1, -1) if array.ndim == 4 else array[:, None, None]
            answers.append((array * dice.normal(1, 0.02, array.shape)).astype(np.float32))
        return answers[0] if len(answers) == 1 else answers

    def compile(self):
        self._expect(States.QUANTIZED_MODEL)
        CALLS.append("compile")
        self.state = States.COMPILED_MODEL
        return b"\x01HEF of the stand-in"
