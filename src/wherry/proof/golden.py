"""Golden set: raw example inputs, reference outputs and labels in one file without pickle.

File format: an uncompressed `.npz` (a zip of `.npy` members with fixed timestamps, so equal content gives equal
bytes): `raw` [samples, ...] as the camera or sensor gave it, `reference.<output>` [samples, ...] float32 recorded
from the program, and `labels` [samples] int64 where the truth is known.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wherry.core.digest import sha256_hex
from wherry.core.errors import BadInputError, DigestMismatchError
from wherry.runtime.interface import Array, Tensors

_REFERENCE = "reference."


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSet:
    """Examples with what the program answered to them. First axis of every array is the sample."""

    raw: Array
    references: Tensors
    labels: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Check that all arrays have the same number of samples.

        Raises:
            BadInputError: there are no samples, or the arrays differ in length.
        """
        lengths = {len(self.raw), *(len(array) for array in self.references.values())}
        if self.labels is not None:
            lengths.add(len(self.labels))
        if len(lengths) != 1 or 0 in lengths or not self.references:
            msg = f"A golden set needs the same number of inputs, references and labels; found {sorted(lengths)}."
            raise BadInputError(msg)

    def __len__(self) -> int:
        return len(self.raw)

    def to_bytes(self) -> bytes:
        """Return the file's bytes; equal sets give equal bytes."""
        arrays = {"raw": self.raw} | {_REFERENCE + name: array for name, array in sorted(self.references.items())}
        if self.labels is not None:
            arrays["labels"] = self.labels
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "GoldenSet":
        """Read what `to_bytes` wrote; nothing in it can run code.

        Raises:
            BadInputError: it is damaged, or not a golden set.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            return cls(
                raw=arrays["raw"],
                references={n.removeprefix(_REFERENCE): a for n, a in arrays.items() if n.startswith(_REFERENCE)},
                labels=arrays.get("labels"),
            )
        except BadInputError:
            raise
        except Exception as error:
            msg = f"The golden set cannot be read: {type(error).__name__}: {error}."
            raise BadInputError(msg, next_step="Get the golden set again from the registry or the bundle.") from error


def load_golden(path: Path, sha256: str) -> GoldenSet:
    """Read the golden set at `path` and check that it is the one that was signed.

    Raises:
        BadInputError: it cannot be read.
        DigestMismatchError: its bytes are not those that `sha256` names.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"The golden set {path} cannot be read: {error.strerror}."
        raise BadInputError(msg) from error
    if sha256_hex(data) != sha256:
        msg = f"The golden set {path.name} is not the one that was recorded."
        raise DigestMismatchError(msg)
    return GoldenSet.from_bytes(data)
