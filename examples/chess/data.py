"""Chess endings with the move to make: capture the most valuable piece that can be captured.

Positions are dealt by chance: White has a king, a queen and a rook on its three ranks, Black a king and up to five
pieces on the three opposite. A rule finds the answer, so the labels are exact; equal seeds give equal positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WHITE, BLACK = "PNBRQK", "pnbrqk"
VALUES = {"p": 1, "n": 3, "b": 3.25, "r": 5, "q": 9}
STRAIGHT = ((0, 1), (1, 0), (0, -1), (-1, 0))
DIAGONAL = ((1, 1), (1, -1), (-1, 1), (-1, -1))
PLANES = WHITE + BLACK
"""The first twelve planes, one for each kind of piece; two more say whose turn it is and where the board is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Boards with the best move and what it is worth."""

    boards: NDArray[np.float32]
    """[positions, 14, 8, 8], 0 or 1."""
    moves: NDArray[np.int64]
    """[positions]: from * 64 + to, squares counted from a8 along the rows."""
    values: NDArray[np.float32]
    """[positions]: material after the move, squeezed to -1 to 1."""


def make(count: int, seed: int) -> Positions:
    """Return `count` positions in each of which something can be captured."""
    random = np.random.default_rng(seed)
    boards = np.zeros((count, 14, 8, 8), np.float32)
    boards[:, 12:] = 1
    moves, values = np.empty(count, np.int64), np.empty(count, np.float32)
    done = 0
    while done < count:
        pieces = _deal(random)
        found = best_capture(pieces)
        if found is None:
            continue
        for square, piece in pieces.items():
            boards[done, PLANES.index(piece), square // 8, square % 8] = 1
        moves[done] = found
        material = 14 - sum(VALUES.get(piece, 0) for piece in pieces.values()) + VALUES[pieces[found % 64]]
        values[done] = np.tanh(material / 8)
        done += 1
    return Positions(boards=boards, moves=moves, values=values)


def best_capture(pieces: dict[int, str]) -> int | None:
    """Return the capture of the most valuable piece, from the lowest square where several can, or None."""
    found = [
        (-VALUES[pieces[target]], target, square)
        for square, piece in pieces.items()
        if piece in WHITE
        for target in _reached(square, piece, pieces)
        if pieces.get(target, "k") in VALUES
    ]
    if not found:
        return None
    _, target, square = min(found)
    return square * 64 + target


def _deal(random: np.random.Generator) -> dict[int, str]:
    black = "k" + "".join(random.choice(list("qrbnp"), size=random.integers(2, 6)))
    dealt = {int(square): kind for square, kind in zip(random.permutation(24), black, strict=False)}
    return dealt | {40 + int(square): kind for square, kind in zip(random.permutation(24), "KQR", strict=False)}


def _reached(square: int, piece: str, pieces: dict[int, str]) -> Iterator[int]:
    """Yield the squares that a king, queen or rook reaches, with pieces in its way."""
    for down, right in STRAIGHT if piece == "R" else STRAIGHT + DIAGONAL:
        row, column = square // 8 + down, square % 8 + right
        while 0 <= row < 8 and 0 <= column < 8:
            yield row * 8 + column
            if row * 8 + column in pieces or piece == "K":
                break
            row, column = row + down, column + right
