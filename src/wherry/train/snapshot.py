"""A data set by content: what is in it, and what has changed since the last one, counted and never typed in.

An image is the sha256 of its shape and bytes; its label is kept beside it, so an image that changed its label is seen
as relabelled and not as one removed and one new. Labels are compared by class name, not by number.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wherry.core.codec import document_digest, from_json
from wherry.core.errors import DocumentError
from wherry.train.examples import Examples

SNAPSHOT_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SnapshotEntry:
    """One image with one label, however often it stands in the data set."""

    image: str
    """sha256 of the image's shape and bytes."""
    label: str
    """Class name."""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSnapshot:
    """What a data set holds; equal contents in any order give an equal digest."""

    total: int
    """Examples, duplicates included."""
    duplicates: int
    """Examples whose image and label stand in the data set before."""
    per_class: dict[str, int]
    """Examples of each class, classes without examples included."""
    entries: tuple[SnapshotEntry, ...]
    """Sorted by image and label."""
    digest: str
    """Digest of the class names and of the sorted entries."""
    schema: int = SNAPSHOT_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotDelta:
    """What changed from one snapshot to the next; `old total + new - removed = total`."""

    total: int
    """Examples in the newer snapshot."""
    new: int
    """Examples whose image the older one did not hold, or held less often."""
    removed: int
    relabelled: int
    """Images that are in both, under another label."""


def snapshot(examples: Examples) -> DatasetSnapshot:
    """Return what `examples` hold, by content."""
    counts = Counter(identities(examples))
    names = examples.class_names
    entries = tuple(sorted(SnapshotEntry(image=image, label=label, count=n) for (image, label), n in counts.items()))
    totals = np.bincount(examples.labels, minlength=len(names))
    per_class = {name: int(totals[number]) for number, name in enumerate(names)}
    return DatasetSnapshot(
        total=len(examples),
        duplicates=len(examples) - len(entries),
        per_class=per_class,
        entries=entries,
        digest=_digest(per_class, entries),
    )


def delta(old: DatasetSnapshot | None, new: DatasetSnapshot) -> SnapshotDelta:
    """Return what changed; without an older snapshot everything is new."""
    before, after = _by_image(old), _by_image(new)
    added = removed = relabelled = 0
    for image in before.keys() | after.keys():
        gone = before.get(image, Counter()) - after.get(image, Counter())
        came = after.get(image, Counter()) - before.get(image, Counter())
        moved = min(gone.total(), came.total())
        relabelled += moved
        removed += gone.total() - moved
        added += came.total() - moved
    return SnapshotDelta(total=new.total, new=added, removed=removed, relabelled=relabelled)


def unseen(examples: Examples, previous: DatasetSnapshot | None) -> NDArray[np.bool_]:
    """Return for each example whether `previous` did not hold this image under this label."""
    known = {(entry.image, entry.label) for entry in previous.entries} if previous is not None else set()
    return np.array([identity not in known for identity in identities(examples)], dtype=np.bool_)


def identities(examples: Examples) -> list[tuple[str, str]]:
    """Return the image's sha256 and the class name of each example, in order."""
    shape = repr((examples.images.dtype.str, examples.images.shape[1:])).encode()
    images = np.ascontiguousarray(examples.images)
    return [
        (hashlib.sha256(shape + image.tobytes()).hexdigest(), examples.class_names[int(label)])
        for image, label in zip(images, examples.labels, strict=True)
    ]


def read_snapshot(data: bytes) -> DatasetSnapshot:
    """Read the JSON document of a snapshot; `core.codec.to_json` writes it.

    Raises:
        DocumentError: it does not fit, or its digest and counts are not those of its entries.
    """
    found = from_json(data, DatasetSnapshot, what="the data-set snapshot", schema=SNAPSHOT_SCHEMA)
    counted = sum(entry.count for entry in found.entries)
    per_class = Counter(dict.fromkeys(found.per_class, 0))
    for entry in found.entries:
        per_class[entry.label] += entry.count
    sound = found.total == counted and found.duplicates == counted - len(found.entries)
    sound = sound and dict(per_class) == found.per_class and found.digest == _digest(found.per_class, found.entries)
    if not sound:
        msg = "The data-set snapshot's counts and digest are not those of its entries."
        raise DocumentError(msg, next_step="Take the snapshot again from the data.")
    return found


def _by_image(taken: DatasetSnapshot | None) -> dict[str, Counter[str]]:
    images: dict[str, Counter[str]] = {}
    for entry in taken.entries if taken is not None else ():
        images.setdefault(entry.image, Counter())[entry.label] += entry.count
    return images


def _digest(per_class: dict[str, int], entries: tuple[SnapshotEntry, ...]) -> str:
    return document_digest([list(per_class), entries])
