"""Layer-wise error: which named module of the network lost the signal.

Both graphs are opened so that every tensor that has the same name in both is an output, a few golden inputs run through
each, and the noise of every layer is measured against the float graph. A layer is charged with what it lost itself:
the signal-to-noise ratio of its worst input less its own. Module names are those that torch's exporter writes beside
each node.
"""

import ast
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherry.core.errors import UsageError
from wherry.core.model import ModelSpec
from wherry.core.variant import Variant
from wherry.proof.compare import OutputTally
from wherry.proof.golden import load_golden
from wherry.runtime import telemetry
from wherry.runtime.interface import Tensors
from wherry.runtime.preprocess import prepare

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_SAMPLES = 4
_CLEAN_DB = 100.0  # single precision's own rounding is at about 140 dB; more than this is no loss
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """What one layer did to the signal."""

    module: str
    """Path of the module in the network, such as `features.3.block.0`; of several that were fused into one; empty
    where the graph does not say."""
    operator: str
    tensor: str
    snr_db: float
    """Signal-to-noise ratio of its output against the float graph; 100 where there is no noise to speak of."""
    lost_db: float
    """Signal-to-noise ratio of its worst input less its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Layers of one variant, the one that lost most first."""

    target: str
    reference: str
    layers: tuple[LayerError, ...]
    samples: int
    not_seen: int
    """Layers of the float graph whose tensors have no namesake in the variant, because they were fused or folded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainJob:
    """What to explain, by path and digest."""

    variant: Variant
    main: str
    reference: Variant
    """The float variant that it was made from."""
    reference_main: str
    spec: ModelSpec
    golden: str
    golden_sha256: str


def check_explainable(variant: Variant, reference: Variant | None) -> None:
    """Refuse what cannot be looked into, before any work.

    Raises:
        UsageError: the variant is not an ONNX graph, or there is no float graph to compare it with.
    """
    if variant.target.format != "onnx":
        msg = (
            f"{variant.name} cannot be looked into layer by layer: its file keeps no tensors under the names of others."
        )
        raise UsageError(msg, next_step="Use --ladder to see which rung breaks, or --explain the ONNX variant.")
    if reference is None or variant.target.precision == "fp32":
        msg = f"There is no float graph to compare the layers of {variant.name} with."
        raise UsageError(msg, next_step="Export onnx-fp32, and explain a variant of lower precision.")


def explain_layers(job: ExplainJob) -> Explanation:
    """Return the layers of the variant that `job` names, the one that lost most first.

    Raises:
        BadInputError: the golden set cannot be read.
        DigestMismatchError: it is not the recorded one.
    """
    import onnx

    floating, lower = onnx.load(job.reference_main), onnx.load(job.main)
    seen = _namesakes(floating, lower)
    raw, step = load_golden(Path(job.golden), job.golden_sha256).raw[:_SAMPLES], job.variant.batch or 1
    raw = np.resize(raw, (-(-len(raw) // step) * step, *raw.shape[1:]))  # whole batches, where the batch is fixed
    tallies: dict[str, OutputTally] = {}
    with tempfile.TemporaryDirectory(prefix="wherry-explain-") as folder:
        want = _opened(floating, list(seen), Path(folder) / "float.onnx")
        got = _opened(lower, list(seen.values()), Path(folder) / "lower.onnx")
        for start in range(0, len(raw), step):
            inputs = prepare(raw[start : start + step], job.spec)
            here, there = _tensors(got, inputs), _tensors(want, inputs)
            for name, inside in seen.items():
                if here[inside].shape == there[name].shape and here[inside].size:
                    tallies.setdefault(name, OutputTally(name, 1.0)).update(here[inside], there[name])
    makers = {name: node for node in floating.graph.node for name in node.output}
    ratios = {name: _decibels(tally) for name, tally in tallies.items()}
    layers = [_layer(node, ratios, makers) for node in floating.graph.node if node.output[0] in ratios]
    return Explanation(
        target=job.variant.name,
        reference=job.reference.name,
        layers=tuple(sorted(layers, key=lambda layer: (-layer.lost_db, layer.snr_db))),
        samples=len(raw),
        not_seen=sum(node.output[0] not in ratios for node in floating.graph.node),
    )


def _namesakes(floating: "ModelProto", lower: "ModelProto") -> dict[str, str]:
    """Return for each tensor of the float graph what the other graph goes on with: after rounding, where it rounds."""
    made = {name for node in lower.graph.node for name in node.output}
    rounded = {node.input[0]: node.output[0] for node in lower.graph.node if node.op_type == "QuantizeLinear"}
    back = {node.input[0]: node.output[0] for node in lower.graph.node if node.op_type == "DequantizeLinear"}
    wanted = [node.output[0] for node in floating.graph.node if node.op_type != "Constant"]
    return {name: back.get(rounded.get(name, ""), name) for name in wanted if name in made}


def _opened(model: "ModelProto", names: list[str], path: Path) -> Any:
    """Return a session of the graph in which these tensors are outputs."""
    telemetry.silence()
    import onnx
    import onnxruntime

    there = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in there)
    onnx.save(model, str(path))
    options = onnxruntime.SessionOptions()
    # Every tensor is looked at as the file makes it; what the runtime fuses is the ladder's rung `engine`.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _tensors(session: Any, inputs: Tensors) -> Tensors:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def _decibels(tally: OutputTally) -> float:
    found = tally.result()
    ratio = _CLEAN_DB if found.snr_db is None else found.snr_db
    return max(-_CLEAN_DB, min(_CLEAN_DB, ratio))


def _layer(node: "NodeProto", ratios: Mapping[str, float], makers: "Mapping[str, NodeProto]") -> LayerError:
    own, before, fused = ratios[node.output[0]], [_CLEAN_DB], [node]
    wanted, visited = list(node.input), set[str]()
    while wanted:  # through layers that were not seen, to what arrives at those: they are charged together
        name = wanted.pop()
        if name in ratios:
            before.append(ratios[name])
        elif name in makers and name not in visited:
            visited.add(name)
            fused.append(makers[name])
            wanted.extend(makers[name].input)
    modules = dict.fromkeys(module for one in reversed(fused) if (module := _module(one)))
    return LayerError(
        module=" + ".join(modules),
        operator=node.op_type,
        tensor=node.output[0],
        snr_db=own,
        lost_db=max(min(before) - own, 0.0),
    )


def _module(node: "NodeProto") -> str:
    """Return the path of the module that torch's exporter wrote beside the node."""
    text = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "[]")
    try:
        scopes = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return ""
    modules = [str(scope) for scope in scopes[:-1] if scope] if isinstance(scopes, list) else []
    return modules[-1] if modules else ""
