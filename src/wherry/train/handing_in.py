"""What a training script leaves for `wherry register`: weights, spec, lineage and examples in one folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wherry.core.codec import to_json
from wherry.core.model import Lineage, ModelSpec
from wherry.durable import atomic_write
from wherry.proof.record import Examples
from wherry.proof.tasks import task_metric
from wherry.runtime.interface import Tensors
from wherry.runtime.preprocess import prepare

if TYPE_CHECKING:
    from torch import nn

CHECKPOINT = "checkpoint.safetensors"
_CHUNK = 64


def hand_in(
    folder: Path, network: "nn.Module", spec: ModelSpec, lineage: Lineage, examples: Mapping[str, Examples]
) -> None:
    """Write everything that `wherry register` and `wherry export` ask for into `folder`.

    Files: `checkpoint.safetensors`, `spec.json`, `lineage.json`, and `<name>.npz` with `raw` and `labels` for each set
    of examples. The checkpoint comes last, so a folder that has one is complete.

    Args:
        folder: is made if need be; older files in it are replaced.
        network: its weights and buffers go into the checkpoint.
        spec: what it takes and gives.
        lineage: where it comes from.
        examples: by name, such as `golden`, `evaluation` and `calibration`.

    Raises:
        StorageError: a file cannot be written.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "spec.json", to_json(spec))
    atomic_write(folder / "lineage.json", to_json(lineage))
    for name, found in examples.items():
        arrays = {"raw": found.raw} | ({} if found.labels is None else {"labels": found.labels})
        if found.class_names:
            arrays["class_names"] = np.array(found.class_names, dtype=np.str_)
        np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    atomic_write(folder / CHECKPOINT, save(weights))


def score(network: "nn.Module", spec: ModelSpec, examples: Examples) -> dict[str, float]:
    """Return the task's numbers on labelled examples, such as `accuracy` or `map`; empty when there are none.

    Args:
        network: takes what the spec says and gives its outputs in the spec's order; run in evaluation mode.
        spec: its preprocessing turns the raw examples into inputs.
        examples: raw, with labels as the task wants them.
    """
    if examples.labels is None:
        return {}
    return task_metric(spec.task).quality(answers(network, spec, examples), examples.labels, spec) or {}


def answers(network: "nn.Module", spec: ModelSpec, examples: Examples) -> Tensors:
    """Return the network's outputs for raw examples by the names of the spec, in evaluation mode, without gradients."""
    import torch

    training = network.training
    network.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(examples.raw), _CHUNK):
            inputs = prepare(examples.raw[start : start + _CHUNK], spec)
            found = network(*(torch.from_numpy(array) for array in inputs.values()))
            parts.append([found] if isinstance(found, torch.Tensor) else list(found))
    network.train(training)
    names = [tensor.name for tensor in spec.outputs]
    return {name: np.concatenate([part[index].numpy() for part in parts]) for index, name in enumerate(names)}
