"""Opens a checkpoint: scanned first, then read by the loader of its format, then loaded into a network."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wherry.checkpoint.interface import Checkpoint, Content, TensorSummary
from wherry.checkpoint.loaders import loader_for
from wherry.checkpoint.scan import ScanReport, demand_clean, scan_file
from wherry.core.digest import short
from wherry.core.errors import CheckpointError, NotFoundError, StorageError

if TYPE_CHECKING:
    import torch
    from torch import nn

_SHOWN = 5


def open_checkpoint(path: Path) -> Checkpoint:
    """Scan the file, read it on the CPU and sum it up.

    Raises:
        NotFoundError: there is no such file.
        CheckpointError: it is empty, truncated or no checkpoint.
        ScanRefusedError: it holds something that was not allowed by name.
        StorageError: it cannot be read.
    """
    with _opened(path) as (file, report):
        content = loader_for(report.format).read(file, path)
    return Checkpoint(
        path=path,
        sha256=report.sha256,
        size=report.size,
        format=report.format,
        tensors=tuple(
            TensorSummary(name=name, dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(tensor.shape))
            for name, tensor in content.tensors.items()
        ),
        metadata=dict(content.metadata),
    )


def load_into(module: "nn.Module", checkpoint: Checkpoint) -> None:
    """Copy the checkpoint's weights into `module`: all of them, and nothing is left as it was.

    Args:
        module: the network; unchanged when anything does not fit.
        checkpoint: what `open_checkpoint` returned; its file is scanned again and must still be the same.

    Raises:
        CheckpointError: the file has changed, or keys or shapes differ; the message names the first that do.
    """
    content = _read_again(checkpoint)
    own = module.state_dict()
    _check_keys(own, content.tensors, checkpoint.path)
    _check_shapes(own, content.tensors, checkpoint.path)
    module.load_state_dict(dict(content.tensors), strict=True)


def _read_again(checkpoint: Checkpoint) -> Content:
    with _opened(checkpoint.path) as (file, report):
        if report.sha256 != checkpoint.sha256:
            msg = f"{checkpoint.path} is no longer the file with sha256 {short(checkpoint.sha256)} that was opened."
            raise CheckpointError(msg, next_step="Open the checkpoint again.")
        return loader_for(report.format).read(file, checkpoint.path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, ScanReport]]:
    """Open once, so that the bytes that were scanned are the bytes that are read."""
    if not path.is_file():
        msg = f"{path} is not a file."
        raise NotFoundError(msg, next_step="Check the path of the checkpoint.")
    try:
        with path.open("rb") as file:
            report = scan_file(file, path)
            demand_clean(report)
            yield file, report
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}."
        raise StorageError(msg) from error


def _check_keys(own: Mapping[str, "torch.Tensor"], given: Mapping[str, "torch.Tensor"], path: Path) -> None:
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    if not missing and not unexpected:
        return
    parts = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for names, what in ((missing, "missing"), (unexpected, "unexpected"))
        if names
    ]
    msg = f"{path} does not fit the network: {' and '.join(parts)}."
    raise CheckpointError(
        msg, next_step="Build the network with the architecture that the checkpoint was trained with."
    )


def _check_shapes(own: Mapping[str, "torch.Tensor"], given: Mapping[str, "torch.Tensor"], path: Path) -> None:
    different = [
        f"{name} is {list(given[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if given[name].shape != own[name].shape
    ]
    if different:
        more = f" ({len(different) - _SHOWN} more)" if len(different) > _SHOWN else ""
        msg = f"{path} does not fit the network: {'; '.join(different[:_SHOWN])}{more}."
        raise CheckpointError(
            msg, next_step="Build the network with the number of classes and sizes it was trained with."
        )
