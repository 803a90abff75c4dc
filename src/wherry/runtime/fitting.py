"""How an image comes to the network's size, and how what was found there comes back to the image.

`Placement` is the one description of it: `prepare` resizes by it, and boxes and masks are carried back by it, so the
two cannot disagree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import BadInputError, ToolchainMissingError
from wherry.core.model import ModelSpec, Preprocessing
from wherry.runtime.interface import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a raw image lies in the network's input: `input = raw * scale + offset`, in pixels.

    All pairs are (vertical, horizontal). A crop has a negative offset: part of the image lies outside the input.
    """

    raw: tuple[int, int]
    """Height and width of the raw image."""
    resized: tuple[int, int]
    """Height and width of the image after resizing."""
    size: tuple[int, int]
    """Height and width of the network's input."""
    offset: tuple[int, int]
    """Of the resized image's first pixel in the input."""

    @property
    def scale(self) -> tuple[float, float]:
        """Input pixels for one raw pixel."""
        return self.resized[0] / self.raw[0], self.resized[1] / self.raw[1]

    def boxes_to_raw(self, boxes: Array) -> NDArray[np.float64]:
        """Return boxes (N, 4) as x1, y1, x2, y2 of the input in pixels of the raw image, cut off at its border."""
        (sy, sx), (oy, ox) = self.scale, self.offset
        height, width = self.raw
        found = (boxes.astype(np.float64) - (ox, oy, ox, oy)) / (sx, sy, sx, sy)
        return np.clip(found, 0.0, (width, height, width, height))

    def boxes_to_input(self, boxes: Array) -> NDArray[np.float64]:
        """Return boxes (N, 4) of the raw image in pixels of the input; they may reach beyond it after a crop."""
        (sy, sx), (oy, ox) = self.scale, self.offset
        found: NDArray[np.float64] = boxes.astype(np.float64) * (sx, sy, sx, sy) + (ox, oy, ox, oy)
        return found

    def map_to_raw(self, values: Array, *, outside: float = 0) -> Array:
        """Return a mask or class map (height, width) of the input in the raw image's size, nearest pixel.

        Args:
            values: one value for each pixel of the input.
            outside: of pixels of the raw image that a crop left out.
        """
        rows, inside_rows = _positions(self.raw[0], self.scale[0], self.offset[0], values.shape[0])
        columns, inside_columns = _positions(self.raw[1], self.scale[1], self.offset[1], values.shape[1])
        found: Array = values[np.ix_(rows, columns)]
        if not (inside_rows.all() and inside_columns.all()):
            found = np.where(np.logical_and.outer(inside_rows, inside_columns), found, values.dtype.type(outside))
        return found


def fitted(image: Sequence[int], spec: ModelSpec) -> Placement:
    """Return where an image of that height and width lies in the network's input.

    Raises:
        BadInputError: the image is empty.
    """
    return place(image, spec.preprocessing)


def place(image: Sequence[int], how: Preprocessing) -> Placement:
    """Return where an image of that height and width lies under this preprocessing.

    The aspect is kept to the pixel: both sides are multiplied by one factor and rounded, at least one pixel stays, and
    an odd pixel of border lies below and to the right.

    Raises:
        BadInputError: the image is empty.
    """
    height, width = int(image[0]), int(image[1])
    if height < 1 or width < 1:
        msg = f"An image of {height} x {width} pixels holds nothing to resize."
        raise BadInputError(msg)
    raw = (height, width)
    size = raw if how.size is None else (int(how.size[0]), int(how.size[1]))
    if how.fit == "stretch":
        return Placement(raw=raw, resized=size, size=size, offset=(0, 0))
    factors = size[0] / height, size[1] / width
    factor = min(factors) if how.fit == "letterbox" else max(factors)
    resized = (max(1, round(height * factor)), max(1, round(width * factor)))
    # `//` rounds the negative offset of a crop away from zero: there the odd pixel is cut off above and to the left.
    offset = (size[0] - resized[0]) // 2, (size[1] - resized[1]) // 2
    return Placement(raw=raw, resized=resized, size=size, offset=offset)


def fit_images(images: Array, how: Preprocessing) -> Array:
    """Return uint8 images (N, height, width, channels) in the network's size.

    Raises:
        BadInputError: there is nothing to resize.
        ToolchainMissingError: they have to be resized and Pillow is not installed.
    """
    if how.size is None or images.shape[1:3] == tuple(how.size):
        return images
    if not len(images) or 0 in images.shape[1:3]:
        msg = f"Raw images have shape {list(images.shape)}, so there is nothing to resize."
        raise BadInputError(msg)
    spot = place(images.shape[1:3], how)
    resized = _resize(images, spot.resized, how.resample)
    if spot.resized == spot.size:
        return resized
    made = np.full((len(images), *spot.size, images.shape[-1]), how.pad, dtype=np.uint8)
    (top, left), (height, width) = spot.offset, spot.resized
    here = np.s_[:, max(top, 0) : top + height, max(left, 0) : left + width]
    target = made[here]
    made[here] = resized[:, max(-top, 0) :, max(-left, 0) :][:, : target.shape[1], : target.shape[2]]
    return made


def _resize(images: Array, size: tuple[int, int], resample: str) -> Array:
    if images.shape[1:3] == size:
        return images
    try:
        from PIL import Image
    except ImportError as error:
        msg = "Pillow is not installed, and the images have to be resized."
        raise ToolchainMissingError(msg, next_step="Run: pip install 'wherry[device]'") from error
    method = Image.Resampling[resample.upper()]
    planes = images[..., 0] if images.shape[-1] == 1 else images
    resized = np.stack([np.asarray(Image.fromarray(plane).resize((size[1], size[0]), method)) for plane in planes])
    return resized[..., np.newaxis] if images.shape[-1] == 1 else resized


def _positions(raw: int, scale: float, offset: int, length: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return for each raw row the input's row under its middle, and whether there is one."""
    place_in_input = np.floor((np.arange(raw) + 0.5) * scale + offset).astype(np.intp)
    inside = (place_in_input >= 0) & (place_in_input < length)
    return np.clip(place_in_input, 0, length - 1), inside
