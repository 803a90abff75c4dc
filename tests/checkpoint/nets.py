"""Networks for the tests, in a file of their own: errors must name its lines."""

import math

import numpy as np
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, classes)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Autoencoder(nn.Module):
    """An encoder with weight normalisation of both forms, and a decoder that nobody deploys."""

    def __init__(self) -> None:
        super().__init__()
        new = nn.utils.parametrizations.weight_norm(nn.Linear(6, 5))
        old = nn.utils.weight_norm(nn.Linear(5, 2))
        self.parts = nn.ModuleDict({"encoder": nn.Sequential(new, nn.Tanh(), old), "decoder": nn.Linear(2, 6)})

    def forward(self, x):
        return self.parts["decoder"](self.parts["encoder"](x))


class Joined(nn.Module):
    """A detector's answer in one tensor: boxes and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 6, 8, stride=8)

    def forward(self, x):
        return self.layer(x).flatten(2).sigmoid()


class Split(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        found = self.inner(x)
        return found[:, :4] * 16, found[:, 4:]


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        if x.sum() > 0:  # a branch on values
            return self.layer(x)
        return self.layer(-x)


class Counting(Branching):
    def forward(self, x):
        count = int(x[0, 0].item() * 3) + 1  # a size from a value
        return self.layer(x) + torch.ones(count, 1, 1).sum()


class Sorting(Branching):
    def forward(self, x):
        order = np.argsort(x.detach().numpy()[0])  # leaves torch
        return self.layer(x[:, torch.from_numpy(order)])


class Fixed(Branching):
    def forward(self, x):
        return self.layer(x.reshape(2, 4))


class Named(Branching):
    def forward(self, x):
        found = self.layer(x)
        return {"second": found * 2, "first": found}


def failing() -> nn.Module:
    return Tiny(classes=math.factorial(-1))  # raises


def nothing() -> int:
    return 3
