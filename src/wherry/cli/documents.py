"""Documents and examples that a person hands to a verb, checked on entry."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from wherry.core.codec import from_json
from wherry.core.device import DeviceProfile
from wherry.core.errors import BadInputError, NotFoundError
from wherry.core.model import Lineage, ModelSpec
from wherry.proof.record import Examples
from wherry.runtime.interface import Array


def read_spec(path: Path) -> ModelSpec:
    """Read a model spec.

    Raises:
        NotFoundError: there is no such file.
        DocumentError: it is not a model spec.
    """
    return from_json(_read(path), ModelSpec, what=f"The model spec {path}")


def read_profile(path: Path) -> DeviceProfile:
    """Read what `wherry device detect --json` printed on a device.

    Raises:
        NotFoundError: there is no such file.
        DocumentError: it is not a device profile.
    """
    return from_json(_read(path), DeviceProfile, what=f"The device profile {path}")


def read_lineage(path: Path | None) -> Lineage:
    """Read the lineage that a training run wrote; without one, say only when, and that nothing was counted.

    Raises:
        NotFoundError: there is no such file.
        DocumentError: it is not a lineage.
    """
    if path is None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Lineage(timestamp=now, training_images=0, new_images=0, notes="registered without lineage")
    return from_json(_read(path), Lineage, what=f"The lineage {path}")


def read_examples(path: Path) -> Examples:
    """Read examples from an `.npz` with `raw` and, where the truth is known, `labels`; no pickle is loaded.

    `class_names` as text, where they stand beside them, must be those of the model.

    Raises:
        NotFoundError: there is no such file.
        BadInputError: it is not such an archive.
    """
    _read(path, limit=0)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        names = tuple(str(name) for name in arrays.get("class_names", ()))
        return Examples(raw=arrays["raw"], labels=_labels(arrays.get("labels")), class_names=names)
    except Exception as error:
        msg = f"{path} does not hold examples: {type(error).__name__}: {error}."
        raise BadInputError(msg, next_step="Write it with numpy.savez(path, raw=..., labels=...).") from error


def _labels(labels: Array | None) -> Array | None:
    """Return whole numbers as int64, whatever their size in the file, and others as they are."""
    return labels.astype(np.int64) if labels is not None and labels.dtype.kind in "iu" and labels.ndim == 1 else labels


def _read(path: Path, limit: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise NotFoundError(msg, next_step="Check the path.") from error
