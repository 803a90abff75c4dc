"""Kits for a vendor's toolchain that is not here: a list of digests and one zip; equal kits have equal bytes."""

import hashlib
import zipfile
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)


def sums(folder: Path) -> str:
    """Return one line for each file, as `sha256sum` writes and checks it."""
    lines = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as stream:
            lines.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {path.name}\n")
    return "".join(lines)


def zip_kit(folder: Path, path: Path) -> None:
    """Pack the kit's files; equal files give equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(entry.name for entry in folder.iterdir()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as stream, (folder / name).open("rb") as source:
                while piece := source.read(1 << 20):
                    stream.write(piece)
