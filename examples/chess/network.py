"""The policy and value network of AlphaZero: 128 channels, 6 residual blocks (Silver et al. 2018, 8x8 board)."""

from torch import Tensor, nn

PLANES, CHANNELS, BLOCKS, MOVES = 14, 128, 6, 64 * 64


def alphazero() -> nn.Module:
    """Return the network with untrained weights."""
    return AlphaZero()


class AlphaZero(nn.Module):
    """A residual tower with two heads. Moves are not masked inside: that is the search's knowledge."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(PLANES, CHANNELS, 3), nn.ReLU())
        self.tower = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.policy = nn.Sequential(_convolution(CHANNELS, 32, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 64, MOVES))
        self.value = nn.Sequential(
            _convolution(CHANNELS, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 128), nn.ReLU(), nn.Linear(128, 1)
        )

    def forward(self, board: Tensor) -> tuple[Tensor, Tensor]:
        """Return policy logits [batch, 4096], move = from * 64 + to, and value [batch, 1], -1 lost to 1 won.

        Args:
            board: [batch, 14, 8, 8], planes of 0 and 1 as `data.py` makes them.
        """
        features = self.tower(self.stem(board))
        return self.policy(features), self.value(features).tanh()


class Block(nn.Module):
    """Two convolutions around which the input is carried."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(_convolution(CHANNELS, CHANNELS, 3), nn.ReLU(), _convolution(CHANNELS, CHANNELS, 3))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return (features + self.inner(features)).relu()


def _convolution(inside: int, outside: int, size: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, size, padding=size // 2, bias=False), nn.BatchNorm2d(outside))
