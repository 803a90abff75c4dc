"""Backups of what was published: `backups/<Product>_backup_<time>.<ext>` (contract row F8)."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

from wherry.agent.layout import Layout
from wherry.agent.placing import place
from wherry.agent.publish import product_files
from wherry.agent.transaction import Saved
from wherry.durable import fsync_dir, storage_errors


def save(layout: Layout, product: str, now: datetime) -> tuple[Saved, ...]:
    """Back up what is published now, whoever put it there. Costs no space where the file system can share it.

    Raises:
        StorageError: a backup could not be written.
    """
    names = product_files(layout, product)
    stamp = _free_stamp(layout, product, now)
    saved = tuple(Saved(original=name, backup=_backup_name(product, stamp, name)) for name in names)
    for one in saved:
        place(layout.models / one.original, layout.backups / one.backup)
    if saved:
        with storage_errors(layout.backups):
            fsync_dir(layout.backups)
    return saved


def restore(layout: Layout, saved: tuple[Saved, ...]) -> None:
    """Put backed-up files back where they were: what lived here before the first install.

    Raises:
        StorageError: a file could not be written.
    """
    for one in saved:
        if (layout.backups / one.backup).is_file():
            place(layout.backups / one.backup, layout.models / one.original)
    if saved and layout.models.is_dir():
        with storage_errors(layout.models):
            fsync_dir(layout.models)


def prune(layout: Layout, product: str, keep: int) -> None:
    """Drop all but the `keep` newest backups and the oldest one, which may hold what was here before wherry."""
    groups: dict[str, list[Path]] = {}
    prefix = f"{product}_backup_"
    for path in sorted(layout.backups.glob(f"{prefix}*")):
        stamp = path.name[len(prefix) :].split(".")[0].split("_")[0]
        groups.setdefault(stamp, []).append(path)
    stamps = sorted(groups)
    for stamp in stamps[1 : max(1, len(stamps) - keep)]:
        for path in groups[stamp]:
            with suppress(OSError):
                path.unlink()


def _free_stamp(layout: Layout, product: str, now: datetime) -> str:
    stamp = first = now.strftime("%Y%m%dT%H%M%SZ")
    number = 1
    while any(layout.backups.glob(f"{product}_backup_{stamp}[._]*")):
        number += 1
        stamp = f"{first}-{number}"
    return stamp


def _backup_name(product: str, stamp: str, name: str) -> str:
    rest = name.removeprefix(product)
    if rest == name:
        rest = f"_{name.replace('/', '_')}"
    return f"{product}_backup_{stamp}{rest}"
