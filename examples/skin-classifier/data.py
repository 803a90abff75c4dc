"""Close-ups of ten real surfaces: crops of photographs that ship inside scikit-image; equal seeds give equal crops.

Dermatoscopic photographs may not be shipped here, so ten other surfaces stand in for ten kinds of skin. Training and
held-out crops come from different parts of each photograph, and never share a pixel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLASSES = ("brick", "cell", "coins", "fur", "galaxies", "grass", "gravel", "retina", "tissue", "print")
SIDE = 96
_TRAINED_SHARE = 0.62
"""Of each photograph's width; the rest is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crops:
    """Close-ups with their class."""

    images: NDArray[np.uint8]
    """[crops, 96, 96, 3], RGB."""
    labels: NDArray[np.int64]


def make(count: int, seed: int, *, held_out: bool) -> Crops:
    """Return `count` crops, each class equally often, lit and blurred by chance like real close-ups."""
    random = np.random.default_rng(seed)
    photos = [_part(photo, held_out=held_out) for photo in _photographs()]
    labels = np.arange(count) % len(CLASSES)
    random.shuffle(labels)
    images = np.stack([_crop(photos[label], random) for label in labels])
    return Crops(images=images, labels=labels.astype(np.int64))


def _photographs() -> list[NDArray[np.uint8]]:
    from skimage import data

    photos = [data.brick(), data.cell(), data.coins(), data.chelsea(), data.hubble_deep_field(), data.grass()]
    photos += [data.gravel(), data.retina()[300:1100, 200:1200], data.immunohistochemistry(), data.page()]
    return [photo if photo.ndim == 3 else np.repeat(photo[..., None], 3, axis=-1) for photo in photos]


def _part(photo: NDArray[np.uint8], *, held_out: bool) -> NDArray[np.uint8]:
    edge = int(photo.shape[1] * _TRAINED_SHARE)
    return photo[:, edge:] if held_out else photo[:, :edge]


def _crop(photo: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Cut out a square of 60 to 96 pixels, bring it to 96, turn it, and change light, colour and noise."""
    from PIL import Image

    size = int(random.integers(60, SIDE + 1))
    top, left = (int(random.integers(length - size + 1)) for length in photo.shape[:2])
    square = Image.fromarray(photo[top : top + size, left : left + size])
    pixels = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    pixels = np.rot90(pixels, int(random.integers(4)))
    grey = pixels.mean(axis=-1, keepdims=True)
    pixels = grey + (pixels - grey) * random.uniform(0.5, 1.0)
    middle = pixels.mean()
    pixels = (pixels - middle) * random.uniform(0.8, 1.2) + middle + random.uniform(-25, 25)
    pixels = pixels + random.normal(0, random.uniform(2, 9), pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)
