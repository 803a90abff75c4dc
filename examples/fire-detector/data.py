"""Photographs with fire and smoke painted into them, with boxes and masks; equal seeds give equal images."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

CLASSES = ("fire", "smoke")
SIDE = 160
MOST = 4
"""Objects in one image at most; labels are padded to it with class -1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenes:
    """Images with what is in them."""

    images: NDArray[np.uint8]
    """[scenes, 160, 160, 3], RGB."""
    labels: NDArray[np.float32]
    """[scenes, 4, 5]: class, x1, y1, x2, y2 in pixels; class -1 is no object."""
    masks: NDArray[np.uint8]
    """[scenes, 160, 160]: 0 is background, otherwise 1 + the object's place in `labels`."""


def make(count: int, seed: int) -> Scenes:
    """Return `count` scenes with one to four objects each."""
    random = np.random.default_rng(seed)
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    labels = np.full((count, MOST, 5), -1, np.float32)
    masks = np.zeros((count, SIDE, SIDE), np.uint8)
    for index in range(count):
        images[index], labels[index], masks[index] = _scene(random)
    return Scenes(images=images, labels=labels, masks=masks)


@cache
def _photographs() -> tuple[NDArray[np.uint8], ...]:
    """Return the backgrounds: photographs that ship inside scikit-image and scikit-learn."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    grey = [np.repeat(photo[..., None], 3, -1) for photo in (data.brick(), data.grass(), data.gravel(), data.camera())]
    colour = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), *load_sample_images().images]
    return tuple(np.ascontiguousarray(photo) for photo in (*grey, *colour))


def _scene(random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    canvas = _background(random)
    labels = np.full((MOST, 5), -1, np.float32)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    found = 0
    for _ in range(random.integers(1, MOST + 1)):
        kind = int(random.integers(len(CLASSES)))
        alpha, colour = _flame(random) if kind == 0 else _cloud(random)
        inside = alpha > 0.45
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if min(len(rows), len(columns)) < 12 or (mask[inside] > 0).mean() > 0.05:
            continue
        canvas = canvas * (1 - alpha[..., None]) + colour * alpha[..., None]
        mask[inside] = found + 1
        labels[found] = (kind, columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        found += 1
    noisy = canvas + random.normal(0, 4, canvas.shape)
    return noisy.clip(0, 255).astype(np.uint8), labels, mask


def _background(random: np.random.Generator) -> NDArray[np.float64]:
    photos = _photographs()
    photo = photos[random.integers(len(photos))]
    step = 2 if min(photo.shape[:2]) >= 2 * SIDE and random.random() < 0.5 else 1
    photo = photo[::step, ::step]
    top, left = (random.integers(size - SIDE + 1) for size in photo.shape[:2])
    crop = photo[top : top + SIDE, left : left + SIDE, :]
    return (crop[:, ::-1] if random.random() < 0.5 else crop) * random.uniform(0.6, 1.1)


def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    return rows.astype(np.float64), columns.astype(np.float64)


def _flame(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return opacity and colour of a flame: a tongue that is wide below, narrow above and flickers at its edge."""
    rows, columns = _grid()
    height, width = random.uniform(36, 80), random.uniform(22, 44)
    bottom, middle = random.uniform(height + 2, SIDE - 2), random.uniform(width / 2, SIDE - width / 2)
    up = (bottom - rows) / height
    flicker = 3 * np.sin(up * random.uniform(6, 14) + random.uniform(0, 6))
    half = width / 2 * np.sqrt(np.clip(up * 6, 0, 1)) * np.clip(1 - up, 0, 1) ** 0.6
    away = np.abs(columns - middle - flicker) / np.maximum(half, 1e-3)
    alpha = np.clip(4 * (1 - away), 0, 1) * ((up > 0) & (up < 1))
    heat = np.clip(1.2 - away * 0.7 - np.clip(up, 0, 1) * 0.5, 0, 1)
    colour = np.stack([200 + 55 * heat, 60 + 180 * heat, 10 + 110 * heat**3], -1)
    return alpha * 0.95, colour


def _cloud(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return opacity and colour of smoke: soft grey balls that drift upwards."""
    rows, columns = _grid()
    size = random.uniform(10, 18)
    row, column = random.uniform(size * 3, SIDE - size), random.uniform(size * 2, SIDE - size * 2)
    density = np.zeros((SIDE, SIDE))
    drift = random.uniform(-8, 8)
    for _ in range(4):
        density += 1.6 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (1.1 * size**2))
        row, column, size = row - size * random.uniform(0.7, 1.0), column + drift, size * random.uniform(0.9, 1.15)
    grey = random.uniform(110, 200) + 12 * np.sin(rows / random.uniform(3, 7) + columns / random.uniform(3, 7))
    return np.clip(density, 0, 0.9), np.repeat(grey[..., None], 3, -1)
