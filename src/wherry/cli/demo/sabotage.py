"""Ways to damage a model on purpose, for the demo and its tests."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from wherry.bundle.pack import Bundle
from wherry.core.codec import to_json
from wherry.core.digest import FileRef, sha256_hex
from wherry.core.manifest import ManifestEntry


def flip_one_byte(bundle: Path) -> Path:
    """Write a copy of the bundle with one byte inverted in the middle of its largest member."""
    import zipfile

    with zipfile.ZipFile(bundle) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    data = bytearray(bundle.read_bytes())
    data[largest.header_offset + 30 + len(largest.filename) + len(largest.extra) + largest.file_size // 2] ^= 0xFF
    damaged = bundle.with_name(bundle.stem + "_damaged.zip")
    damaged.write_bytes(data)
    return damaged


def corrupt_before_signing(bundle: Bundle) -> Bundle:
    """Shuffle the rows of every weight matrix in an unsigned bundle, and make the manifest agree with the damage.

    This is what a broken or hostile build machine does between the proof and the signature: all digests and all
    signatures are right, and the numbers are wrong. Only a proof on the device can find it.
    """
    entries = tuple(_corrupt_entry(bundle.folder, entry) for entry in bundle.manifest.entries)
    manifest = replace(bundle.manifest, entries=entries)
    data = to_json(manifest)
    (bundle.folder / "manifest.json").write_bytes(data)
    return replace(bundle, manifest=manifest, manifest_bytes=data)


def _corrupt_entry(folder: Path, entry: ManifestEntry) -> ManifestEntry:
    main = entry.variant.files[0]
    old = folder / "blobs" / "sha256" / main.sha256[:2] / main.sha256
    data = shuffle_onnx_weights(old.read_bytes())
    ref = FileRef(path=main.path, size=len(data), sha256=sha256_hex(data))
    new = folder / "blobs" / "sha256" / ref.sha256[:2] / ref.sha256
    new.parent.mkdir(parents=True, exist_ok=True)
    new.write_bytes(data)
    old.unlink()
    variant = replace(entry.variant, files=(ref, *entry.variant.files[1:]))
    return replace(entry, variant=variant, report=replace(entry.report, variant=variant.digest))


def shuffle_onnx_weights(data: bytes) -> bytes:
    """Return the ONNX model with the rows of every matrix among its weights in another order."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(data)
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim > 1:
            tensor.CopyFrom(numpy_helper.from_array(rng.permutation(array), tensor.name))
    changed: bytes = model.SerializeToString()
    return changed
