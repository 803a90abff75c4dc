"""Names inside a bundle, and which names are allowed at all: the same on Windows, macOS and Linux.

Only plain ASCII letters, digits and `._+-` may stand in a name, so a path cannot escape (`..`, drive letters, a
backslash, `:`) nor mean two files on one system and one on another (Unicode forms, letter case).
"""

import re
from collections.abc import Iterable

from wherry.core.digest import FileRef, check_sha256
from wherry.core.manifest import Manifest

MANIFEST = "manifest.json"
METADATA = "tuf/metadata"
TARGETS = "tuf/targets"
MAX_PATH = 240
MAX_MEMBERS = 10_000
MAX_MANIFEST = 4_000_000
"""Bytes. A manifest with twenty variants has about 60 000."""

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(?<!\.)", re.ASCII)
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9]|conin|conout|clock)(\..*)?", re.IGNORECASE)
_TARGET = re.compile(
    rf"{TARGETS}/(?P<product>[^/]+)/(?P<release>[1-9][0-9]*)/(?P<sha256>[0-9a-f]{{64}})\.manifest\.json"
)


def blob_path(sha256: str) -> str:
    """Return where the blob of that digest lies in a bundle."""
    return f"blobs/sha256/{sha256[:2]}/{check_sha256(sha256)}"


def target_path(product: str, release: int) -> str:
    """Return the TUF target that vouches for a release's manifest."""
    return f"{product}/{release}/{MANIFEST}"


def stored_target(product: str, release: int, sha256: str) -> str:
    """Return where that target lies in a bundle: TUF's consistent snapshots put the digest into the name."""
    return f"{TARGETS}/{product}/{release}/{check_sha256(sha256)}.{MANIFEST}"


def parse_stored_target(name: str) -> tuple[str, int, str] | None:
    """Return product, release and digest if `name` is a stored target, else None."""
    match = _TARGET.fullmatch(name)
    return (match["product"], int(match["release"]), match["sha256"]) if match else None


def blobs(manifest: Manifest) -> tuple[FileRef, ...]:
    """Return every blob that the manifest names, each digest once: the golden set and the variants' files."""
    files = [manifest.golden, *(file for entry in manifest.entries for file in entry.variant.files)]
    first: dict[str, FileRef] = {}
    for file in files:
        first.setdefault(file.sha256, file)
    return tuple(first.values())


def member_sizes(manifest: Manifest, manifest_sha256: str, manifest_size: int) -> dict[str, int]:
    """Return name and length of every member but TUF's own documents."""
    sizes = {blob_path(file.sha256): file.size for file in blobs(manifest)}
    sizes |= {file.path: file.size for file in manifest.companions}
    sizes |= dict.fromkeys(
        (MANIFEST, stored_target(manifest.product, manifest.release, manifest_sha256)), manifest_size
    )
    return sizes


def path_fault(path: str) -> str | None:
    """Return why `path` may not stand in a bundle or a release folder, or None."""
    if not path or len(path) > MAX_PATH:
        return f"is empty or longer than {MAX_PATH} characters"
    if path.startswith("/") or ".." in path.split("/"):
        return "leads out of its folder"
    for segment in path.split("/"):
        if not _SEGMENT.fullmatch(segment):
            return "holds other than letters, digits and '._+-', or begins or ends with a dot"
        if _RESERVED.fullmatch(segment):
            return "is a name that Windows keeps for a device"
    return None


def set_fault(paths: Iterable[str]) -> str | None:
    """Return the first thing wrong with a set of paths as one clause, or None.

    A path may be bad in itself, there twice, or both a file and a folder. Letter case is ignored when comparing, as two
    of the three systems do.
    """
    seen: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        fault = path_fault(path)
        if fault is not None:
            return f"{path!r} {fault}"
        folded = path.lower()
        if folded in seen:
            return f"{path!r} is there twice"
        seen.add(folded)
        parts = folded.split("/")
        folders.update("/".join(parts[:count]) for count in range(1, len(parts)))
    both = sorted(seen & folders)
    return f"{both[0]!r} is a file and a folder" if both else None
