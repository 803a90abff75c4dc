"""Pictures of shelves with cartons, bottles and tins, and what each pixel is; equal seeds give equal pictures.

Walls and product prints are crops of photographs that ship inside scikit-image.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

CLASSES = ("shelf", "carton", "bottle", "tin")
SIDE = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelves:
    """Pictures with the class of each pixel."""

    images: NDArray[np.uint8]
    """[pictures, 96, 96, 3], RGB."""
    labels: NDArray[np.uint8]
    """[pictures, 96, 96]: place in `CLASSES`."""


def make(count: int, seed: int) -> Shelves:
    """Return `count` pictures of one or two boards each."""
    random = np.random.default_rng(seed)
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    labels = np.zeros((count, SIDE, SIDE), np.uint8)
    for index in range(count):
        images[index] = _picture(random, labels[index])
    return Shelves(images=images, labels=labels)


@cache
def _photographs() -> tuple[NDArray[np.uint8], ...]:
    from skimage import data

    grey = [np.repeat(photo[..., None], 3, -1) for photo in (data.brick(), data.grass(), data.gravel(), data.camera())]
    return (*grey, data.astronaut(), data.chelsea(), data.coffee(), data.rocket())


def _print(random: np.random.Generator, tint: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Return a crop of a photograph in one tint, 96 x 96 x 3, values 0 to 255."""
    photos = _photographs()
    photo = photos[random.integers(len(photos))]
    top, left = (random.integers(size - SIDE + 1) for size in photo.shape[:2])
    crop = photo[top : top + SIDE, left : left + SIDE].astype(np.float64)
    return crop * strength + tint * (1 - strength)


def _picture(random: np.random.Generator, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw one picture, and write what each pixel is into `labels`."""
    picture = _print(random, random.uniform(60, 200, 3), 0.5)
    boards = int(random.integers(1, 3))
    height = SIDE // boards
    for board in range(1, boards + 1):
        floor = board * height - 5
        picture[floor : board * height] = random.uniform(70, 150)
        column = float(random.uniform(0, 6))
        while column < SIDE - 8:
            width = float(random.uniform(16, 34))
            if random.random() < 0.85:
                kind = int(random.integers(1, len(CLASSES)))
                inside = _outline(kind, column, width, floor, height * random.uniform(0.6, 0.85))
                paint = _print(random, random.uniform(0, 255, 3), 0.35)
                picture[inside] = (paint * _shade(kind, column, width))[inside]
                labels[inside] = kind
            column += width + random.uniform(1, 6)
    noisy = picture * random.uniform(0.6, 1.15) + random.normal(0, 5, picture.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def _outline(kind: int, left: float, width: float, floor: int, tall: float) -> NDArray[np.bool_]:
    """Return which pixels a product covers: a carton is a box, a bottle has a neck, a tin is low and round on top."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    away = np.abs(columns - left - width / 2) / (width / 2)
    up = (floor - rows) / tall
    standing = (up > 0) & (up <= 1)
    if kind == 1:
        return standing & (away <= 1)
    if kind == 2:
        return standing & (away <= np.where(up < 0.55, 0.9, np.where(up < 0.7, 0.9 - (up - 0.55) * 3.6, 0.36)))
    return (up > 0) & (up <= 0.55 + 0.08 * np.sqrt(np.clip(1 - away**2, 0, 1))) & (away <= 1)


def _shade(kind: int, left: float, width: float) -> NDArray[np.float64]:
    """Return how light each column is: flat on a carton, rounded on a bottle, with a bright streak on a tin."""
    away = (np.arange(SIDE) - left - width / 2) / (width / 2)
    round_side = np.sqrt(np.clip(1.05 - away**2, 0.05, 1))
    light = {1: np.full(SIDE, 0.95), 2: round_side, 3: round_side + 0.5 * np.exp(-((away + 0.4) ** 2) / 0.03)}[kind]
    return light[None, :, None]
