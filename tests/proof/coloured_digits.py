"""A small real network: scikit-learn's scanned digits, tinted by their parity, so that colour matters to the answer."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from wherry.core.model import ModelSpec, Preprocessing, TensorSpec

SPEC = ModelSpec(
    task="classification",
    inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 3, 16, 16)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 10)),),
    preprocessing=Preprocessing(
        kind="image", size=(16, 16), resample="bicubic", scale=1 / 255, mean=(0.3, 0.2, 0.1), std=(0.3, 0.2, 0.25)
    ),
    postprocessing="softmax",
    class_names=("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
)
_TINTS = np.array([[1.0, 0.6, 0.2], [0.3, 0.6, 1.0]])  # even digits are orange, odd ones blue


def digits():
    """Raw pictures (N, 8, 8, 3) and labels, in an order that mixes writers."""
    data = load_digits()
    labels = data.target.astype(np.int64)
    raw = data.images[..., None] * (255 / 16) * _TINTS[labels % 2][:, None, None]
    order = np.random.default_rng(0).permutation(len(labels))
    return raw[order].round().astype(np.uint8), labels[order]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.edges = nn.Conv2d(3, 12, 3, padding=1)
        self.shapes = nn.Conv2d(12, 24, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(24 * 16, 10)

    def forward(self, image):
        x = self.pool(self.edges(image).relu())
        return self.head(self.pool(self.shapes(x).relu()).flatten(1))


def trained(inputs, labels):
    """A network after six epochs."""
    torch.manual_seed(0)
    made = Net()
    steps = torch.optim.Adam(made.parameters(), lr=3e-3)
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    for _ in range(6):
        for rows in torch.randperm(len(x)).split(64):
            steps.zero_grad()
            nn.functional.cross_entropy(made(x[rows]), y[rows]).backward()
            steps.step()
    return made.eval()


def loud(made):
    """The same function with activations a hundred thousand times as large: half precision cannot hold them."""
    copy = Net()
    copy.load_state_dict(made.state_dict())
    with torch.no_grad():
        for layer, factor in ((copy.edges, 1e5), (copy.shapes, 1e-5)):
            layer.weight.mul_(factor)
        copy.edges.bias.mul_(1e5)
    return copy.eval()
