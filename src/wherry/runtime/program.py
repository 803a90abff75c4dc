"""Opens a captured program (`.pt2`) without executing anything that lies in the file.

`torch.export.load` alone is no data-only reader: in torch 2.13 it unpickles opaque constants, retries a failed load of
the sample inputs with full unpickling, and loads compiled libraries from the archive. So the archive's own reader
lists the records first, only tensors and JSON are let through, and torch is told to unpickle nothing but tensors.
"""

import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from wherry.core.errors import EngineError, ScanRefusedError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_FORBID = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_ONE_AT_A_TIME = threading.Lock()
# What `torch.export.save` writes for a network of tensors; the reader ignores case, so the names are compared as they
# are and anything in another spelling is refused.
_HARMLESS = re.compile(
    r"models/\w+\.json"
    r"|data/weights/(weight_\d+|\w+_weights_config\.json)"
    r"|data/constants/(tensor_\d+|\w+_constants_config\.json)"
    r"|data/sample_inputs/\w+\.pt"
    r"|extra/[\w./-]+"
    r"|archive_format|archive_version|byteorder|version|\.data/version|\.data/serialization_id"
)


def open_program(path: Path) -> "ExportedProgram":
    """Return the program in a `.pt2` file; nothing from the file is executed.

    Raises:
        ScanRefusedError: the file holds more than tensors and a graph, such as pickled objects or compiled code.
        EngineError: it is no program, or this torch cannot read it.
    """
    try:
        with path.open("rb") as stream:
            return read_program(stream, path.name)
    except OSError as error:
        msg = f"{path.name} cannot be read: {error.strerror or error}."
        raise EngineError(msg, next_step="Give a file that `torch.export.save` wrote.") from error


def read_program(stream: IO[bytes], name: str) -> "ExportedProgram":
    """Return the program in the bytes of a `.pt2` file, under the same conditions as `open_program`.

    Args:
        stream: the bytes from the first to the last; it can be rewound.
        name: what the bytes are called in an error.
    """
    import torch
    from torch.export.pt2_archive._package import PT2ArchiveReader

    with _no_pickle():
        try:
            with PT2ArchiveReader(stream) as reader:
                names = reader.get_file_names()
        except Exception as error:
            msg = f"{name} is not a program: it is no .pt2 archive."
            raise EngineError(msg, next_step="Give a file that `torch.export.save` wrote.") from error
        _check_records(name, names)
        stream.seek(0)
        try:
            return torch.export.load(stream)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            msg = f"{name} cannot be opened by torch {torch.__version__}: {reason}"
            raise EngineError(msg, next_step="Register the version again with this torch.") from error


def _check_records(file: str, names: Iterable[str]) -> None:
    strange = sorted(name for name in names if not _HARMLESS.fullmatch(name))
    if strange:
        msg = f"{file} holds {strange[0]!r}, which is neither a tensor nor a graph, so it was not opened."
        raise ScanRefusedError(msg, next_step="Capture the program again from a network of plain tensors.")


@contextmanager
def _no_pickle() -> Iterator[None]:
    """Let torch unpickle nothing but tensors; a setting of the process, so one caller at a time."""
    with _ONE_AT_A_TIME:
        before = {name: os.environ.pop(name, None) for name in (_FORCE, _FORBID)}
        os.environ[_FORCE] = "1"
        try:
            yield
        finally:
            del os.environ[_FORCE]
            os.environ.update({name: value for name, value in before.items() if value is not None})
