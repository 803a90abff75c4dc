"""Learns how frequent each class is and nothing else: for tests and dry runs, in milliseconds."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.train.recipe import Epoch, Job, Recipe

CLASSES = 10


class NullNet(nn.Module):
    """Gives the same logits whatever the image shows."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits, batch x classes."""
        return self.bias + 0.0 * image.flatten(1).sum(1, keepdim=True)


def spec() -> ModelSpec:
    """Return what the network takes and gives."""
    return ModelSpec(
        task="classification",
        inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8), meaning="grey image"),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", CLASSES), meaning="logits"),),
        preprocessing=Preprocessing(kind="image", color="L", scale=1 / 16),
        postprocessing="softmax",
        class_names=tuple(str(number) for number in range(CLASSES)),
    )


def run(job: Job) -> Iterator[Epoch]:
    """Move the bias half of the remaining way to the logarithm of each class's share, each epoch."""
    classes = len(job.examples.class_names)
    net = NullNet(classes)
    if job.weights is not None:
        net.load_state_dict(dict(job.weights))
    counts = np.bincount(job.examples.labels, minlength=classes) + 1
    goal = torch.log(torch.from_numpy(counts / counts.sum()).float())
    for _ in range(job.done, job.epochs):
        with torch.no_grad():
            net.bias.add_((goal - net.bias) * job.settings["step"])
        logits = net.bias.detach().expand(len(job.examples), -1)
        loss = float(nn.functional.cross_entropy(logits, _labels(job.examples.labels)))
        yield Epoch(loss=loss, accuracy=_accuracy(net, job), weights=net.state_dict(), state={})


def _labels(labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> torch.Tensor:
    return torch.from_numpy(labels.astype(np.int64))


def _accuracy(net: NullNet, job: Job) -> float | None:
    if job.held_out is None:
        return None
    return float((job.held_out.labels == int(net.bias.argmax())).mean())


RECIPE = Recipe(
    name="null",
    epochs=4,
    run=run,
    build=NullNet,
    spec=spec,
    settings={"step": 0.5},
    architecture={"name": "NullNet", "classes": CLASSES},
)
