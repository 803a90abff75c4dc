"""Golden set: raw example inputs, reference outputs and labels in one file without pickle.

File format: an uncompressed `.npz` (a zip of `.npy` members with fixed timestamps, so equal content gives equal
bytes): `raw` [samples, ...] as the camera or sensor gave it, `reference.<output>` [samples, ...] float32 recorded
from the program, `labels` [samples, ...] where the truth is known, in the form of the model's task,
`prepared.<input>` [a few, ...] the network's input that preprocessing made of the first samples when the set was
recorded, and `class_names` as text: the names that the labels had then.
"""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from wherry.core.errors import BadInputError, DigestMismatchError
from wherry.runtime.interface import Array, Tensors

_REFERENCE = "reference."
_PREPARED = "prepared."


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSet:
    """Examples with what the program answered to them. First axis of every array is the sample."""

    raw: Array
    references: Tensors
    labels: Array | None = None
    prepared: Tensors = field(default_factory=dict)
    """The network's inputs for the first samples; empty in sets that were recorded without."""
    class_names: tuple[str, ...] = ()
    """What the classes were called when the set was recorded; empty where they have no names."""

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
        prepared = {len(array) for array in self.prepared.values()}
        if len(prepared) > 1 or any(not 0 < length <= len(self.raw) for length in prepared):
            msg = f"A golden set of {len(self.raw)} samples holds prepared inputs of {sorted(prepared)} samples."
            raise BadInputError(msg)

    def __len__(self) -> int:
        return len(self.raw)

    def to_bytes(self) -> bytes:
        """Return the file's bytes; equal sets give equal bytes."""
        arrays = {"raw": self.raw} | {_REFERENCE + name: array for name, array in sorted(self.references.items())}
        arrays |= {_PREPARED + name: array for name, array in sorted(self.prepared.items())}
        if self.labels is not None:
            arrays["labels"] = self.labels
        if self.class_names:
            arrays["class_names"] = np.array(self.class_names, dtype=np.str_)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "GoldenSet":
        """Read what `to_bytes` wrote; nothing in it can run code.

        Raises:
            BadInputError: it is damaged, or not a golden set.
        """
        return _read(io.BytesIO(data))


def _read(stream: BinaryIO) -> GoldenSet:
    try:
        with np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return GoldenSet(
            raw=arrays["raw"],
            references={n.removeprefix(_REFERENCE): a for n, a in arrays.items() if n.startswith(_REFERENCE)},
            labels=arrays.get("labels"),
            prepared={n.removeprefix(_PREPARED): a for n, a in arrays.items() if n.startswith(_PREPARED)},
            class_names=tuple(str(name) for name in arrays.get("class_names", ())),
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
        # The file is read twice and never held as a whole beside its arrays: an evaluation set may be gigabytes.
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                msg = f"The golden set {path.name} is not the one that was recorded."
                raise DigestMismatchError(msg)
            file.seek(0)
            return _read(file)
    except OSError as error:
        msg = f"The golden set {path} cannot be read: {error.strerror}."
        raise BadInputError(msg) from error
