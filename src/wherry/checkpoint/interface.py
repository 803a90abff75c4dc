"""The loader family: a scanned file in, tensors by name and free-form facts out.

A member is one file in `loaders/`; it fills one hook, `_read`. The public method is final: it opens the file once,
scans it, lets only a clean one through, and narrows every error of the framework.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, final

from wherry.core.errors import CheckpointError, WherryError

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSummary:
    """One tensor of a checkpoint, without its numbers."""

    name: str
    dtype: str
    """torch's name without its module, such as `float32`."""
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What training left behind, scanned and summed up; the numbers stay in the file."""

    path: Path
    sha256: str
    size: int
    """Length in bytes."""
    format: str
    """`torch-zip`, `torch-legacy`, `safetensors`, `pt2`, `torchscript`, `onnx`, or `module` for a whole network."""
    tensors: tuple[TensorSummary, ...]
    """In the order of the file."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Everything plain that lay beside the weights: architecture, number of classes, epochs."""
    trusted: bool = False
    """Whether it was opened with the longer list of names that whole pickled networks need."""

    @property
    def elements(self) -> int:
        """How many numbers all tensors hold together."""
        return sum(tensor.elements for tensor in self.tensors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a loader read."""

    tensors: Mapping[str, "torch.Tensor"]
    metadata: Mapping[str, Any]
    network: "nn.Module | None" = None
    """The network itself, from files that hold one: a pickled module, TorchScript or a captured program."""
    notes: tuple[str, ...] = ()
    """One sentence for each choice that was made among what the file holds."""


class Loader(ABC):
    """Reads one family of files that the scan let through."""

    name: ClassVar[str]

    def __init__(self, *, modules: bool = False) -> None:
        """Read whole pickled networks as well, if `modules`; the scan must have let them through."""
        self.modules = modules

    @final
    def read(self, file: BinaryIO, path: Path) -> Content:
        """Read a scanned file onto the CPU.

        Args:
            file: opened for reading bytes, already scanned.
            path: its name, for errors.

        Raises:
            CheckpointError: the framework cannot read it, or it holds no weights.
        """
        file.seek(0)
        try:
            content = self._read(file)
        except WherryError:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            msg = f"{path} cannot be opened as {self.name}: {reason}"
            raise CheckpointError(msg, next_step="Save the checkpoint again as a plain state_dict.") from error
        if not content.tensors:
            msg = f"{path} holds no weights."
            raise CheckpointError(msg, next_step="Save the network's state_dict() into the checkpoint.")
        return content

    @abstractmethod
    def _read(self, file: BinaryIO) -> Content:
        """Hook: read the file; may assume that it was scanned."""
