"""The metadata file beside a variant: everything that an application needs to run the file without wherry."""

from pathlib import Path
from typing import Any

from wherry.core.codec import to_json
from wherry.core.variant import METADATA_FILE, Target
from wherry.export.interface import Source


def write_metadata(out: Path, source: Source, target: Target, *, batch: int | None, effective: dict[str, Any]) -> None:
    """Write `deployment_metadata.json` (contract rows C9 and T1); equal variants give equal bytes.

    Args:
        out: the variant's folder.
        source: what the variant was made from.
        target: what it was made for.
        batch: fixed batch size, or None.
        effective: options in effect.
    """
    spec = source.spec
    document = {
        "model": source.model,
        "version": f"v{source.version}",
        "target": target.name,
        "format": target.format,
        "precision": target.precision,
        "batch": batch,
        "task": spec.task,
        "inputs": spec.inputs,
        "outputs": spec.outputs,
        "preprocessing": spec.preprocessing,
        "postprocessing": spec.postprocessing,
        "class_names": spec.class_names,
        "detection": spec.detection if spec.task == "detection" else None,
        "effective": effective,
        "training": source.facts,
    }
    (out / METADATA_FILE).write_bytes(to_json(document))
