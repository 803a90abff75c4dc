"""Gathers the real examples that set the ranges of int8: pictures of a folder, an `.npz`, those of a snapshot."""

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wherry.core.errors import BadInputError, NotFoundError
from wherry.core.model import ModelSpec, Version
from wherry.core.variant import CalibrationManifest

if TYPE_CHECKING:
    from wherry.export.calibration import CalibrationExample
    from wherry.proof.record import Examples
    from wherry.registry import Registry
    from wherry.runtime.interface import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSource:
    """Where calibration examples come from."""

    path: Path
    """A folder of pictures, whose sub-folders may be named after the classes, or an `.npz` with `raw` and `labels`."""
    samples: int | None = None
    """How many to choose by chance; None takes all."""
    seed: int = 0
    """Equal seeds choose equal examples."""
    snapshot: Path | None = None
    """Data-set snapshot (JSON); only examples that stand in it are taken."""


@dataclass(slots=True)
class _Gathered:
    """What was seen on the way."""

    skipped: dict[str, str] = field(default_factory=dict)


def calibrate(
    registry: "Registry", version: Version, given: "Examples | CalibrationSource"
) -> tuple[Path, CalibrationManifest]:
    """Write the calibration set of a version into the registry's cache and describe it.

    Raises:
        NotFoundError: there is no such folder or file.
        BadInputError: no example can be used, or one of them is among those that the proof uses.
        StorageError: the set cannot be written.
    """
    from wherry.export.calibration import contents, demand_disjoint, describe_stability, open_calibration
    from wherry.export.calibration import write_calibration as write

    found = _Gathered()
    folder = registry.root / "cache" / "calibration"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        written = Path(scratch) / "calibration.npz"
        examples = _examples(given, version.spec, found)
        manifest = write(examples, version.spec.class_names, _named(given), written)
        path = folder / f"{manifest.sha256}.npz"
        written.replace(path)
    raw = open_calibration(path).raw
    for evaluation in _evaluations(registry, version):
        seen = set(contents(raw, version.spec))
        demand_disjoint(sum(digest in seen for digest in contents(evaluation, version.spec)), len(evaluation))
    described = describe_stability(manifest, raw, version.spec)
    chosen = isinstance(given, CalibrationSource) and given.samples is not None
    seed = given.seed if chosen and isinstance(given, CalibrationSource) else None
    return path, replace(described, seed=seed, skipped=found.skipped)


def _named(given: "Examples | CalibrationSource") -> str:
    return str(given.path) if isinstance(given, CalibrationSource) else given.source


def _evaluations(registry: "Registry", version: Version) -> "Iterator[Array]":
    from wherry.proof.golden import GoldenSet

    for file in (version.golden, version.evaluation):
        if file is not None:
            yield GoldenSet.from_bytes(registry.read(file.sha256)).raw


def _examples(
    given: "Examples | CalibrationSource", spec: ModelSpec, found: _Gathered
) -> "Iterator[CalibrationExample]":
    from wherry.export.calibration import CalibrationExample

    if not isinstance(given, CalibrationSource):
        for index, raw in enumerate(given.raw):
            yield CalibrationExample(raw=raw, label=None if given.labels is None else given.labels[index])
        return
    whole = _from_folder(given, spec, found) if given.path.is_dir() else _from_file(given)
    yield from _in_snapshot(whole, given.snapshot, found) if given.snapshot is not None else whole


def _order(count: int, given: CalibrationSource) -> list[int]:
    """Return the examples in the order in which they are tried: as they lie, or shuffled by the seed."""
    if given.samples is None:
        return list(range(count))
    return [int(index) for index in np.random.default_rng(given.seed).permutation(count)]


def _from_file(given: CalibrationSource) -> "Iterator[CalibrationExample]":
    from wherry.export.calibration import CalibrationExample

    if not given.path.is_file():
        msg = f"There is neither a folder nor a file {given.path}."
        raise NotFoundError(msg, next_step="Check the path of the calibration examples.")
    try:
        with np.load(given.path, allow_pickle=False) as file:
            raw = file["raw"]
            labels = file["labels"] if "labels" in file.files else None
    except Exception as error:
        msg = f"{given.path} does not hold examples: {type(error).__name__}: {error}."
        raise BadInputError(msg, next_step="Write it with numpy.savez(path, raw=..., labels=...).") from error
    if labels is not None and len(labels) not in (0, len(raw)):
        msg = f"{given.path} holds {len(labels)} labels for {len(raw)} examples."
        raise BadInputError(msg, next_step="Give one label for each example, or none at all.")
    for index in _order(len(raw), given)[: given.samples]:
        label = labels[index] if labels is not None and len(labels) else None
        yield CalibrationExample(raw=raw[index], label=label)


def _from_folder(given: CalibrationSource, spec: ModelSpec, found: _Gathered) -> "Iterator[CalibrationExample]":
    """Yield pictures, fitted as the model's own preprocessing fits them; what cannot be read is remembered."""
    from wherry.export.calibration import CalibrationExample
    from wherry.runtime.fitting import fit_images
    from wherry.runtime.images import picture_files, read_image

    if spec.preprocessing.kind != "image":
        msg = f"{given.path} is a folder of pictures, and the model takes tensors."
        raise BadInputError(msg, next_step="Give an .npz with `raw` and, if known, `labels`.")
    files = list(picture_files(given.path))
    taken = 0
    for index in _order(len(files), given):
        if given.samples is not None and taken == given.samples:
            return
        path = files[index]
        name = path.relative_to(given.path).as_posix()
        try:
            fitted = fit_images(read_image(path)[np.newaxis], spec.preprocessing)[0]
        except BadInputError as error:
            found.skipped[name] = error.message
            continue
        taken += 1
        yield CalibrationExample(raw=fitted, label=_label(path.parent.name, spec))
    if not taken:
        reason = next(iter(found.skipped.values()), "it holds no files")
        msg = f"No picture in {given.path} can be used: {reason}"
        raise BadInputError(msg, next_step="Give a folder of JPEG or PNG pictures.")


def _label(folder: str, spec: ModelSpec) -> int | None:
    return spec.class_names.index(folder) if folder in spec.class_names else None


def _in_snapshot(
    examples: "Iterator[CalibrationExample]", snapshot: Path, found: _Gathered
) -> "Iterator[CalibrationExample]":
    """Yield the examples that stand in the snapshot, by content."""
    from wherry.train.snapshot import read_snapshot

    try:
        known = {entry.image for entry in read_snapshot(snapshot.read_bytes()).entries}
    except OSError as error:
        msg = f"The data-set snapshot {snapshot} cannot be read: {error.strerror}."
        raise NotFoundError(msg, next_step="Check the path.") from error
    strangers = taken = 0
    for example in examples:
        raw = np.ascontiguousarray(example.raw)
        identity = hashlib.sha256(repr((raw.dtype.str, raw.shape)).encode() + raw.tobytes()).hexdigest()
        if identity in known:
            taken += 1
            yield example
        else:
            strangers += 1
    if strangers:
        found.skipped[snapshot.name] = f"{strangers} examples do not stand in the snapshot."
    if not taken:
        msg = f"None of {strangers} examples stands in the data-set snapshot {snapshot}."
        raise BadInputError(msg, next_step="Give the examples that the snapshot was taken of.")
