"""Opens a checkpoint: scanned first, then read by the loader of its format, then loaded into a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wherry.checkpoint.fitting import load_tensors
from wherry.checkpoint.interface import Checkpoint, Content, TensorSummary
from wherry.checkpoint.loaders import loader_for
from wherry.checkpoint.scan import ScanReport, demand_clean, scan_file
from wherry.core.digest import short
from wherry.core.errors import CheckpointError, NotFoundError, ScanRefusedError, StorageError

if TYPE_CHECKING:
    from torch import nn


def open_checkpoint(path: Path, *, trust_pickle: bool = False) -> Checkpoint:
    """Scan the file, read it on the CPU and sum it up.

    Args:
        path: the file.
        trust_pickle: whether a whole pickled network may be opened, once the scan knows every name in it.

    Raises:
        NotFoundError: there is no such file.
        CheckpointError: it is empty, truncated or no checkpoint.
        ScanRefusedError: it holds something that was not allowed by name.
        StorageError: it cannot be read.
    """
    with _opened(path, trust_pickle) as (file, report):
        content = loader_for(report.format, modules=report.needs == "modules").read(file, path)
    pickled = content.network is not None and report.format.startswith("torch-")
    return Checkpoint(
        path=path,
        sha256=report.sha256,
        size=report.size,
        format="module" if pickled else report.format,
        trusted=trust_pickle,
        tensors=tuple(
            TensorSummary(name=name, dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(tensor.shape))
            for name, tensor in content.tensors.items()
        ),
        metadata=dict(content.metadata),
    )


def load_into(module: "nn.Module", checkpoint: Checkpoint) -> tuple[str, ...]:
    """Copy the checkpoint's weights into `module`: all of them, and nothing is left as it was.

    Args:
        module: the network; unchanged when anything does not fit.
        checkpoint: what `open_checkpoint` returned; its file is scanned again and must still be the same.

    Returns:
        One sentence for each thing that was taken otherwise than it stood in the file, such as a prefix taken off.

    Raises:
        CheckpointError: the file has changed, or keys or shapes differ; the message names the first that do.
    """
    return load_tensors(module, read_again(checkpoint).tensors, checkpoint.path)


def read_again(checkpoint: Checkpoint) -> Content:
    """Read a checkpoint that was opened before, with its numbers.

    Raises:
        CheckpointError: the file is no longer the same.
    """
    with _opened(checkpoint.path, checkpoint.trusted) as (file, report):
        if report.sha256 != checkpoint.sha256:
            msg = f"{checkpoint.path} is no longer the file with sha256 {short(checkpoint.sha256)} that was opened."
            raise CheckpointError(msg, next_step="Open the checkpoint again.")
        return loader_for(report.format, modules=report.needs == "modules").read(file, checkpoint.path)


@contextmanager
def _opened(path: Path, trust_pickle: bool) -> Iterator[tuple[BinaryIO, ScanReport]]:
    """Open once, so that the bytes that were scanned are the bytes that are read."""
    if not path.is_file():
        msg = f"{path} is not a file."
        raise NotFoundError(msg, next_step="Check the path of the checkpoint.")
    try:
        with path.open("rb") as file:
            report = scan_file(file, path, allow="modules" if trust_pickle else "tensors")
            _demand_clean(report, file, path, trust_pickle)
            yield file, report
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}."
        raise StorageError(msg) from error


def _demand_clean(report: ScanReport, file: BinaryIO, path: Path, trust_pickle: bool) -> None:
    """Let a clean file pass; of one that is refused, say whether it would pass as a whole network."""
    if report.forbidden and not trust_pickle and scan_file(file, path, allow="modules").clean:
        what = "TorchScript code" if report.format == "torchscript" else "a whole pickled network"
        msg = f"{path} holds {what}, not only weights, so it was not opened."
        raise ScanRefusedError(msg, next_step=_WHOLE)
    demand_clean(report)


_WHOLE = (
    "Every name in it is on the list of known networks. If you trust where it comes from, allow it with "
    "--allow-pickled-module (trust_pickle=True); otherwise save its state_dict()."
)
