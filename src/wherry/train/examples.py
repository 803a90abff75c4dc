"""Labelled images in memory, checked once when they are put together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wherry.core.errors import BadInputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Raw images with their classes.

    Raises:
        BadInputError: the arrays do not fit each other, or a label has no name.
    """

    images: NDArray[np.uint8]
    """N x height x width [x channels], 0 to 255."""
    labels: NDArray[np.int64]
    """N class numbers."""
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check shapes, types and labels."""
        if self.images.dtype != np.uint8 or self.images.ndim not in (3, 4):
            msg = f"Images are {self.images.dtype} of shape {list(self.images.shape)}, not uint8 of N x H x W [x C]."
            raise BadInputError(msg)
        if self.labels.ndim != 1 or self.labels.dtype.kind not in "iu" or len(self.labels) != len(self.images):
            msg = f"There are {len(self.images)} images, and labels of shape {list(self.labels.shape)}."
            raise BadInputError(msg, next_step="Give one class number for each image.")
        if len(set(self.class_names)) != len(self.class_names):
            msg = "Two classes have the same name."
            raise BadInputError(msg)
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < len(self.class_names)):
            msg = f"Labels go from {self.labels.min()} to {self.labels.max()}, for {len(self.class_names)} class names."
            raise BadInputError(msg, next_step="Give a name for each class number.")

    def __len__(self) -> int:
        """Return how many examples there are."""
        return len(self.images)

    def where(self, keep: NDArray[np.bool_]) -> "Examples":
        """Return the examples for which `keep` is true."""
        return Examples(images=self.images[keep], labels=self.labels[keep], class_names=self.class_names)

    def joined(self, other: "Examples") -> "Examples":
        """Return these examples and then the others.

        Raises:
            BadInputError: the classes or the shapes of the images differ.
        """
        if self.class_names != other.class_names or self.images.shape[1:] != other.images.shape[1:]:
            msg = "Two sets of examples differ in their classes or in the shape of their images."
            raise BadInputError(msg)
        return Examples(
            images=np.concatenate([self.images, other.images]),
            labels=np.concatenate([self.labels, other.labels]),
            class_names=self.class_names,
        )
