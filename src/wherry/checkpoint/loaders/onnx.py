"""An ONNX file: the weights inside it by name, and its own metadata."""

from typing import BinaryIO, ClassVar

from wherry.checkpoint.interface import Content, Loader
from wherry.core.errors import CheckpointError, ToolchainMissingError
from wherry.runtime.installed import installed_version


class OnnxLoader(Loader):
    """Reads with the onnx library; data outside the file is not followed."""

    name: ClassVar[str] = "onnx"

    def _read(self, file: BinaryIO) -> Content:
        if installed_version("onnx", ()) is None:
            msg = "An ONNX file needs the onnx library, which is not installed."
            raise ToolchainMissingError(msg, next_step="Run: pip install 'wherry[export-onnx]'")
        import onnx
        import torch

        model = onnx.load_model_from_string(file.read())
        outside = [tensor.name for tensor in model.graph.initializer if tensor.data_location == 1]
        if outside:
            msg = f"The ONNX file keeps {outside[0]!r} in another file beside it."
            raise CheckpointError(
                msg, next_step="Save it as one file: onnx.save(model, path, save_as_external_data=False)."
            )
        tensors = {
            tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
            for tensor in model.graph.initializer
            if tensor.data_type in _TORCH_KINDS
        }
        facts = {prop.key: prop.value for prop in model.metadata_props}
        return Content(tensors=tensors, metadata=facts)


_TORCH_KINDS = frozenset({1, 2, 3, 5, 6, 7, 9, 10, 11})
"""FLOAT, UINT8, INT8, INT16, INT32, INT64, BOOL, FLOAT16, DOUBLE of `onnx.proto`; others are not summed up."""
