"""The files of a run: written in one step, read without executing anything."""

import hashlib
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherry.core.errors import CheckpointError, NotFoundError
from wherry.durable import atomic_write


def write_state(path: Path, state: Mapping[str, Any]) -> str:
    """Write tensors and plain values with `torch.save` and return the file's sha256; equal states give equal bytes.

    Raises:
        StorageError: it cannot be written.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(_interned(dict(state)), buffer)
    data = buffer.getvalue()
    atomic_write(path, data)
    return hashlib.sha256(data).hexdigest()


def read_state(path: Path) -> tuple[dict[str, Any], str]:
    """Return what `write_state` wrote, on the CPU, and the file's sha256. Nothing but tensors and plain values is read.

    Raises:
        NotFoundError: there is no such file.
        CheckpointError: it is damaged, or holds something else.
    """
    import torch

    if not path.is_file():
        msg = f"{path} is not a file."
        raise NotFoundError(msg, next_step="Check the path of the checkpoint.")
    data = path.read_bytes()
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        msg = f"{path} cannot be opened as weights: {(str(error).strip() or 'unreadable').splitlines()[0][:200]}"
        raise CheckpointError(
            msg, next_step="Give a checkpoint that this training wrote, or a plain state_dict."
        ) from error
    if not isinstance(state, dict):
        msg = f"{path} holds no weights by name."
        raise CheckpointError(msg, next_step="Give a checkpoint that this training wrote, or a plain state_dict.")
    return state, hashlib.sha256(data).hexdigest()


def _interned(value: Any) -> Any:
    """Return `value` with equal texts as one object, as `torch.save` writes a repeated object only once."""
    if isinstance(value, str):
        return sys.intern(str(value))
    if isinstance(value, dict):
        return {_interned(key): _interned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_interned(item) for item in value] if isinstance(value, list) else tuple(map(_interned, value))
    return value
