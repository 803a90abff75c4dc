"""What a job on another machine has to bring along, and what comes back."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Luggage:
    """Files that a job's spec names by path. Where no file system is shared they travel by content."""

    files: tuple[str, ...] = ()
    """Files that the job reads."""
    folders: tuple[str, ...] = ()
    """Folders of which the job may read every file, such as that of a variant."""
    out: tuple[str, ...] = ()
    """Empty folders that the job writes into."""
