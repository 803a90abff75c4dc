"""Handwritten digits: a small convolutional network on the 1797 real scans that ship inside scikit-learn.

Data: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998;
8 x 8 pixels with values 0 to 16. 1000 scans come first, 100 arrive later, 697 are held out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wherry.core.model import ModelSpec, Preprocessing, TensorSpec
from wherry.train.examples import Examples
from wherry.train.recipe import Epoch, Job, Recipe
from wherry.train.weights import load_weights

CLASS_NAMES = tuple(str(number) for number in range(10))
SIDE = 8
MAX_VALUE = 16
FIRST, LATER = 1000, 100
SPLIT_SEED = 20251007


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """The scans in three disjoint parts, each with the same mix of classes."""

    first: Examples
    """1000 scans that are there from the start."""
    later: Examples
    """100 scans that arrive later."""
    held_out: Examples
    """697 scans that no training sees."""


class DigitsNet(nn.Module):
    """Two convolutions, a pooling and two linear layers; 85 k weights."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits, batch x 10, for images of batch x 1 x 8 x 8 with values 0 to 1."""
        logits: torch.Tensor = self.classifier(self.features(image))
        return logits


def spec() -> ModelSpec:
    """Return what the network takes and gives."""
    return ModelSpec(
        task="classification",
        inputs=(
            TensorSpec(name="image", dtype="float32", shape=("batch", 1, SIDE, SIDE), meaning="grey image, 0 to 1"),
        ),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 10), meaning="logits"),),
        preprocessing=Preprocessing(kind="image", size=(SIDE, SIDE), color="L", scale=1 / MAX_VALUE),
        postprocessing="softmax",
        class_names=CLASS_NAMES,
    )


def load() -> Digits:
    """Return the scans, split the same way each time."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images, labels = data.images.astype(np.uint8), data.target.astype(np.int64)
    order = _stratified_order(labels)
    parts = np.split(order, [FIRST, FIRST + LATER])
    first, later, held_out = (
        Examples(images=images[part], labels=labels[part], class_names=CLASS_NAMES) for part in parts
    )
    return Digits(first=first, later=later, held_out=held_out)


def prepare(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the network's input for raw scans: what the spec's preprocessing says, for scans of the right size."""
    return (images.astype(np.float32) * np.float32(1 / MAX_VALUE))[:, np.newaxis]


def predict(net: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits of raw scans, scans x 10, in evaluation mode."""
    training = net.training
    net.eval()
    with torch.no_grad():
        logits: NDArray[np.float32] = net(torch.from_numpy(prepare(images))).numpy()
    net.train(training)
    return logits


def run(job: Job) -> Iterator[Epoch]:
    """Train with AdamW, a cosine learning rate (a lower one from earlier weights) and shifts by one pixel."""
    net = _network(job)
    optimizer = torch.optim.AdamW(net.parameters(), lr=_rate(job), weight_decay=job.settings["weight_decay"])
    generator = torch.Generator().manual_seed(job.seed)
    if job.state is not None:
        optimizer.load_state_dict(job.state["optimizer"])
        generator.set_state(job.state["generator"])
    images = torch.from_numpy(prepare(job.examples.images))
    labels = torch.from_numpy(job.examples.labels.astype(np.int64))
    training = _Training(net=net, optimizer=optimizer, generator=generator, images=images, labels=labels, job=job)
    for epoch in range(job.done, job.epochs):
        loss = _epoch(training, epoch)
        state = {"optimizer": optimizer.state_dict(), "generator": generator.get_state()}
        yield Epoch(loss=loss, accuracy=_accuracy(net, job.held_out), weights=net.state_dict(), state=state)


def _rate(job: Job) -> float:
    return float(job.settings["warm_lr" if job.warm else "lr"])


def _network(job: Job) -> DigitsNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        net = DigitsNet()
    if job.weights is not None:
        load_weights(net, job.weights)
    return net


@dataclass(frozen=True, slots=True, kw_only=True)
class _Training:
    net: DigitsNet
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    images: torch.Tensor
    labels: torch.Tensor
    job: Job


def _epoch(it: _Training, epoch: int) -> float:
    """Train on each image once and return the mean loss."""
    it.net.train()
    count = len(it.images)
    batches = torch.split(torch.randperm(count, generator=it.generator), it.job.settings["batch"])
    total = 0.0
    for number, batch in enumerate(batches):
        progress = (epoch + number / len(batches)) / it.job.epochs
        for group in it.optimizer.param_groups:
            group["lr"] = _rate(it.job) * 0.5 * (1 + math.cos(math.pi * progress))
        it.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(it.net(_shifted(it.images[batch], it.generator)), it.labels[batch])
        torch.autograd.backward(loss)
        it.optimizer.step()
        total += loss.item() * len(batch)
    return total / count


def _shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return each image moved by -1, 0 or 1 pixel in both directions, with empty pixels moving in."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    moves = torch.randint(0, 3, (len(images), 2), generator=generator).tolist()
    return torch.stack(
        [image[:, down : down + SIDE, right : right + SIDE] for image, (down, right) in zip(padded, moves, strict=True)]
    )


def _accuracy(net: DigitsNet, held_out: Examples | None) -> float | None:
    if held_out is None:
        return None
    return float((predict(net, held_out.images).argmax(1) == held_out.labels).mean())


def _stratified_order(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an order of the examples of which every stretch has nearly the mix of classes of the whole."""
    random = np.random.default_rng(SPLIT_SEED)
    place = np.empty(len(labels))
    for number in np.unique(labels):
        members = np.flatnonzero(labels == number)
        place[members] = (random.permutation(len(members)) + random.random()) / len(members)
    return np.argsort(place, kind="stable").astype(np.int64)


RECIPE = Recipe(
    name="digits",
    epochs=12,
    run=run,
    build=DigitsNet,
    spec=spec,
    settings={
        "lr": 3e-3,
        "warm_lr": 1e-3,
        "weight_decay": 1e-4,
        "batch": 64,
        "augmentation": "shift by at most 1 pixel",
    },
    architecture={"name": "DigitsNet", "classes": 10, "channels": [32, 64], "hidden": 64},
)
