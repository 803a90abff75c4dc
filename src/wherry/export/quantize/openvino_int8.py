"""Eight bits for an OpenVINO model with NNCF: static quantization with a calibration set, and weights only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.core.variant import Target
from wherry.export.onnxfile import Share
from wherry.runtime import telemetry
from wherry.runtime.interface import Tensors

PRESETS = ("mixed", "performance")
"""`mixed`: weights symmetric, activations asymmetric; `performance`: both symmetric."""
WEIGHTS = ("int8_asym", "int8_sym")


@dataclass(frozen=True, slots=True)
class NncfOptions:
    """What may be chosen."""

    preset: str = "mixed"
    fast_bias_correction: bool = True
    """Whether biases are corrected layer by layer from one pass, instead of one pass for each layer."""

    @classmethod
    def of(cls, target: Target) -> "NncfOptions":
        """Return what the target's options say."""
        options = target.options
        return cls(options.get("preset", "mixed"), options.get("fast_bias_correction", True))


class NncfQuantizer:
    """A float ONNX file with its calibration examples; builds int8 OpenVINO models from them."""

    def __init__(self, parent: Path, batches: Iterable[Tensors], options: NncfOptions) -> None:
        """Keep the prepared examples, as NNCF looks at them once for each model that is built.

        Args:
            parent: a float32 ONNX file.
            batches: calibration examples, prepared.
            options: what may be chosen.
        """
        self.options = options
        self._parent = parent
        self._batches = list(batches)

    def build(self, excluded: Sequence[str] = ()) -> Any:
        """Return the int8 model with these operators of the ONNX file in float."""
        nncf, model = _nncf(), read(self._parent)
        names = [op.get_friendly_name() for op in model.get_ops()]
        left = [name for name in names if name in set(excluded) or name.partition("/WithoutBiases")[0] in set(excluded)]
        return nncf.quantize(
            model,
            nncf.Dataset(self._batches),
            preset=nncf.QuantizationPreset(self.options.preset),
            subset_size=len(self._batches),
            fast_bias_correction=self.options.fast_bias_correction,
            ignored_scope=nncf.IgnoredScope(names=left, validate=False) if left else None,
        )

    def effective(self) -> dict[str, Any]:
        """Return the options in effect, for the receipt."""
        activations = "asymmetric" if self.options.preset == "mixed" else "symmetric"
        return {
            "weights": "int8 per channel",
            "activations": f"int8 per tensor, {activations}",
            "calibration_method": "minmax",
            "preset": self.options.preset,
            "fast_bias_correction": self.options.fast_bias_correction,
        }


def compress(parent: Path, mode: str, excluded: Sequence[str]) -> Any:
    """Return the ONNX file as a model with eight-bit weights per channel that computes in float."""
    nncf, model = _nncf(), read(parent)
    names = [op.get_friendly_name() for op in model.get_ops()]
    left = [name for name in names if name.partition("/WithoutBiases")[0] in set(excluded)]
    scope = nncf.IgnoredScope(names=left, validate=False) if left else None
    return nncf.compress_weights(model, mode=nncf.CompressWeightsMode(mode), ignored_scope=scope)


def read(parent: Path) -> Any:
    """Return an ONNX file as an OpenVINO model."""
    telemetry.silence()
    import openvino

    return openvino.Core().read_model(str(parent))


def eight_bit_share(path: Path) -> Share:
    """Return which share of a model's convolutions and matrix products has eight-bit weights."""
    products = [op for op in read(path).get_ops() if op.get_type_name() in _PRODUCTS]
    eight = [op for op in products if _stored(op.input_value(1).get_node()) in ("i8", "u8")]
    return Share(operators=len(products), eight_bit=len(eight))


def _stored(node: Any) -> str:
    """Return the type in which a weight is stored, behind what turns it back into float."""
    while node.get_type_name() != "Constant" and node.get_input_size():
        node = node.input_value(0).get_node()
    return str(node.get_element_type().to_string()) if node.get_type_name() == "Constant" else ""


_PRODUCTS = frozenset({"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"})


def _nncf() -> Any:
    telemetry.silence()  # NNCF reports its use through OpenVINO's module for that, which is kept away
    import nncf

    return nncf
