"""A stand-in for TensorRT 10: its names, its signatures and its order of calls; ONNX Runtime computes behind it.

Also `Cuda`, a stand-in for `cuda.bindings.runtime` whose memory is that of the host.
"""

import base64
import ctypes
import enum
import json

import numpy as np
import onnx
import onnxruntime

__version__ = "10.9.0"
CALLS: list[str] = []


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class BuilderFlag(enum.Enum):
    FP16 = 0
    INT8 = 1
    TF32 = 7


class Logger:
    WARNING = 2

    def __init__(self, min_severity):
        assert min_severity == Logger.WARNING


class _Error:
    def __init__(self, text):
        self._text = text

    def desc(self):
        return self._text


class _Config:
    def __init__(self):
        self.flags, self.profiles, self.cache = {BuilderFlag.TF32}, [], None

    def set_memory_pool_limit(self, pool, pool_size):
        assert isinstance(pool, MemoryPoolType)
        assert pool_size > 0

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def add_optimization_profile(self, profile):
        assert profile.shapes
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache):
        assert isinstance(serialized_timing_cache, bytes)
        return _Memory(serialized_timing_cache or b"timing")

    def set_timing_cache(self, cache, ignore_mismatch):
        assert ignore_mismatch is False
        self.cache = cache
        return True

    def get_timing_cache(self):
        return self.cache


class _Memory(bytes):
    def serialize(self):
        return self


class _Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, input, min, opt, max):
        assert all(low <= best <= high for low, best, high in zip(min, opt, max, strict=True))
        self.shapes[input] = [min, opt, max]


class _Network:
    content = b""


class Builder:
    def __init__(self, logger):
        assert isinstance(logger, Logger)
        CALLS.append("Builder")

    def create_network(self, flags=0):
        CALLS.append("create_network")
        return _Network()

    def create_builder_config(self):
        CALLS.append("create_builder_config")
        return _Config()

    def create_optimization_profile(self):
        CALLS.append("create_optimization_profile")
        return _Profile()

    def build_serialized_network(self, network, config):
        CALLS.append("build_serialized_network")
        model = onnx.load_from_string(network.content)
        points = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
        if any(points[node.input[2]].any() for node in nodes if len(node.input) > 2):
            return None  # TensorRT: zero points must be zero
        dynamic = any(axis.dim_param for value in model.graph.input for axis in value.type.tensor_type.shape.dim)
        if dynamic and not config.profiles:
            return None
        shapes = config.profiles[0].shapes if config.profiles else {}
        flags = sorted(flag.name for flag in config.flags)
        document = {"onnx": base64.b64encode(network.content).decode(), "shapes": shapes, "flags": flags}
        return memoryview(json.dumps(document).encode())


class OnnxParser:
    def __init__(self, network, logger):
        assert isinstance(network, _Network)
        assert isinstance(logger, Logger)
        self._network, self._errors = network, []
        CALLS.append("OnnxParser")

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        return self._errors[index]

    def parse(self, model):
        CALLS.append("parse")
        try:
            onnx.load_from_string(model)
        except Exception as error:
            self._errors.append(_Error(f"ModelImporter: {error}"))
            return False
        self._network.content = model
        return True


def nptype(dtype):
    return dtype


class Runtime:
    def __init__(self, logger):
        assert isinstance(logger, Logger)

    def deserialize_cuda_engine(self, serialized_engine):
        try:
            return _Engine(json.loads(serialized_engine))
        except ValueError:
            return None


class _Engine:
    def __init__(self, document):
        self.document = document
        self.session = onnxruntime.InferenceSession(
            base64.b64decode(document["onnx"]), providers=["CPUExecutionProvider"]
        )
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]

    @property
    def num_io_tensors(self):
        return len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index):
        return [*self.inputs, *self.outputs][index]

    def get_tensor_dtype(self, name):
        return np.float32

    def get_tensor_profile_shape(self, name, profile_index):
        fixed = next(value.shape for value in self.session.get_inputs() if value.name == name)
        return self.document["shapes"].get(name, [fixed] * 3)

    def create_execution_context(self):
        return _Context(self)


class _Context:
    def __init__(self, engine):
        self.engine, self.shapes, self.addresses = engine, {}, {}

    def set_input_shape(self, name, shape):
        low, _, high = self.engine.get_tensor_profile_shape(name, 0)
        if len(shape) != len(low) or not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return False
        self.shapes[name] = shape
        return True

    def get_tensor_shape(self, name):
        value = next(value for value in self.engine.session.get_outputs() if value.name == name)
        batch = next(iter(self.shapes.values()))[0]
        return [size if isinstance(size, int) else batch for size in value.shape]

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle):
        assert stream_handle == 7
        assert set(self.addresses) == {*self.engine.inputs, *self.engine.outputs}
        feeds = {}
        for name in self.engine.inputs:
            array = np.empty(self.shapes[name], np.float32)
            ctypes.memmove(array.ctypes.data, self.addresses[name], array.nbytes)
            feeds[name] = array
        for name, array in zip(self.engine.outputs, self.engine.session.run(None, feeds), strict=True):
            ctypes.memmove(self.addresses[name], array.ctypes.data, array.nbytes)
        return True


class Cuda:
    """The calls of `cuda.bindings.runtime` that are used; each gives an error code first."""

    class cudaMemcpyKind(enum.Enum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    def __init__(self):
        self.taken = {}

    def cudaStreamCreate(self):
        return 0, 7

    def cudaStreamSynchronize(self, stream):
        return (0,)

    def cudaStreamDestroy(self, stream):
        return (0,)

    def cudaMalloc(self, size):
        if size > 2**30:
            return 2, None
        buffer = ctypes.create_string_buffer(size)
        self.taken[ctypes.addressof(buffer)] = buffer
        return 0, ctypes.addressof(buffer)

    def cudaMemcpy(self, to, source, size, kind):
        assert isinstance(kind, self.cudaMemcpyKind)
        ctypes.memmove(to, source, size)
        return (0,)

    def cudaFree(self, address):
        del self.taken[address]
        return (0,)
