"""Small networks with what converters stumble over: SE blocks, causal convolutions, resizing, several outputs."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from wherry.core.model import ModelSpec, TensorSpec


class SqueezeExcite(nn.Module):
    """Convolution, batch norm, SiLU, squeeze and excitation, as in EfficientNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.narrow, self.wide, self.head = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), nn.Linear(8, 5)
        self.stem[1].running_mean.uniform_(-1, 1)
        self.stem[1].running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = self.stem(x)
        gate = torch.sigmoid(self.wide(functional.silu(self.narrow(x.mean((2, 3), keepdim=True)))))
        return self.head((x * gate).mean((2, 3)))


class Causal(nn.Module):
    """A dilated Conv1d with weight norm and causal padding over [batch, time, channels], as in a TCN."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.utils.parametrizations.weight_norm(nn.Conv1d(9, 16, 3, dilation=2)), nn.Linear(16, 8)

    def forward(self, x):
        x = functional.relu(self.conv(functional.pad(x.transpose(1, 2), (4, 0))))
        return self.head(x[:, :, -1])


class Resized(nn.Module):
    """A bilinear upsampling between two convolutions, as in a segmentation network."""

    def __init__(self, align: bool) -> None:
        super().__init__()
        self.down, self.up, self.align = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 2, 3, 1, 1), align

    def forward(self, x):
        x = functional.relu(self.down(x))
        return self.up(functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=self.align))


class Detector(nn.Module):
    """Boxes of 0 to 16 and scores of 0 to 1 as two outputs, with a grid that is no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.boxes, self.scores = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 3, 1)
        grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"))
        self.register_buffer("grid", grid.reshape(1, 2, 64), persistent=False)

    def forward(self, x):
        x = functional.silu(self.stem(x))
        centre, size = self.boxes(x).flatten(2).chunk(2, 1)
        return torch.cat([(centre.sigmoid() + self.grid) * 2, size.exp()], 1), self.scores(x).flatten(2).sigmoid()


PIXELS = ("batch", 3, 16, 16)
NETWORKS = {
    "squeeze-excite": (SqueezeExcite, PIXELS, {"logits": ("batch", 5)}),
    "causal": (Causal, ("batch", 20, 9), {"embedding": ("batch", 8)}),
    "resized": (lambda: Resized(align=False), PIXELS, {"mask": ("batch", 2, 16, 16)}),
    "resized-aligned": (lambda: Resized(align=True), PIXELS, {"mask": ("batch", 2, 16, 16)}),
    "detector": (Detector, PIXELS, {"boxes": ("batch", 4, 64), "scores": ("batch", 3, 64)}),
}


def spec_of(name: str) -> ModelSpec:
    """What the network takes and gives."""
    _, taken, given = NETWORKS[name]
    return ModelSpec(
        task="embedding",
        inputs=(TensorSpec(name="data", dtype="float32", shape=taken),),
        outputs=tuple(TensorSpec(name=key, dtype="float32", shape=shape) for key, shape in given.items()),
    )


def capture(name: str, folder: Path) -> Path:
    """Capture the network with a dynamic batch and return the `.pt2`."""
    torch.manual_seed(0)
    make, taken, _ = NETWORKS[name]
    example = torch.randn(2, *taken[1:])
    program = torch.export.export(make().eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    path = folder / f"{name}.pt2"
    torch.export.save(program, path)
    return path
