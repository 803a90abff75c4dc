"""A variational auto-encoder of causal convolutions (TCN) for windows of an IMU; only its encoder is deployed.

Source of the blocks: Bai, Kolter and Koltun 2018, arXiv:1803.01271.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

STEPS, CHANNELS, EMBEDDING = 100, 9, 64
WIDTHS = (32, 48, 64)


def tcn_vae() -> nn.Module:
    """Return the whole network with untrained weights; `encoder` is the sub-module to register."""
    return TcnVae()


class TcnVae(nn.Module):
    """Encoder, a sample around what it says, decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.spread = nn.Linear(EMBEDDING, EMBEDDING)
        self.decoder = nn.Sequential(nn.Linear(EMBEDDING, 128), nn.ReLU(), nn.Linear(128, STEPS * CHANNELS))

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the window as it was reconstructed, the embedding, and the logarithm of its variance."""
        embedding = self.encoder(window)
        spread = self.spread(embedding).clamp(-8, 4)
        sample = embedding + torch.randn_like(embedding) * (spread / 2).exp()
        return self.decoder(sample).view(-1, STEPS, CHANNELS), embedding, spread


class Encoder(nn.Module):
    """Three blocks with dilation 1, 2 and 4; the embedding is the mean that the auto-encoder samples around."""

    def __init__(self) -> None:
        super().__init__()
        widths = (WIDTHS[0], *WIDTHS)
        self.stem = nn.Conv1d(CHANNELS, WIDTHS[0], 1)
        self.blocks = nn.Sequential(*(Block(widths[i], widths[i + 1], 2**i) for i in range(len(WIDTHS))))
        self.mean = nn.Linear(2 * WIDTHS[-1], EMBEDDING)

    def forward(self, window: Tensor) -> Tensor:
        """Return embeddings [batch, 64] of windows [batch, 100, 9] in units of standard deviations."""
        features = self.blocks(self.stem(window.transpose(1, 2)))
        return self.mean(torch.cat([features.mean(dim=2), features[:, :, -1]], dim=1))


class Block(nn.Module):
    """Two causal convolutions with normalised weights, and a way around them."""

    def __init__(self, inside: int, outside: int, dilation: int) -> None:
        super().__init__()
        self.first = Causal(inside, outside, dilation)
        self.second = Causal(outside, outside, dilation)
        self.around = nn.Conv1d(inside, outside, 1)

    def forward(self, signal: Tensor) -> Tensor:
        """Return features of the same length."""
        return (self.around(signal) + self.second(self.first(signal).relu()).relu()).relu()


class Causal(nn.Module):
    """A convolution that sees the present and the past only."""

    def __init__(self, inside: int, outside: int, dilation: int, size: int = 3) -> None:
        super().__init__()
        self.past = (size - 1) * dilation
        self.convolution = weight_norm(nn.Conv1d(inside, outside, size, dilation=dilation))

    def forward(self, signal: Tensor) -> Tensor:
        """Return features of the same length."""
        return self.convolution(nn.functional.pad(signal, (self.past, 0)))
