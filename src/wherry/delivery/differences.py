"""What two versions and their variants say differently about themselves: documents compared field by field."""

import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wherry.core.codec import to_builtins
from wherry.core.comparison import Difference
from wherry.core.model import ModelSpec, Version
from wherry.core.variant import Variant

_LONGEST = 60


def differing(left: object, right: object, path: str = "") -> tuple[Difference, ...]:
    """Return every leaf that differs between two documents; lists are leaves."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        found: list[Difference] = []
        for key in dict.fromkeys([*left, *right]):
            found += differing(left.get(key), right.get(key), f"{path}.{key}" if path else str(key))
        return tuple(found)
    return () if left == right else (Difference(what=path, left=_text(left), right=_text(right)),)


def of_specs(left: ModelSpec, right: ModelSpec) -> dict[str, tuple[Difference, ...]]:
    """Return what differs in preprocessing, classes and signature."""
    signature = ("task", "inputs", "outputs", "postprocessing", "detection")
    parts = [{name: to_builtins(getattr(spec, name)) for name in signature} for spec in (left, right)]
    return {
        "preprocessing": differing(to_builtins(left.preprocessing), to_builtins(right.preprocessing)),
        "classes": _classes(left.class_names, right.class_names),
        "signature": differing(_by_name(parts[0]), _by_name(parts[1])),
    }


def of_versions(left: Version, right: Version, programs: Sequence[Path]) -> dict[str, tuple[Difference, ...]]:
    """Return what differs in layers and training.

    Args:
        left: one version.
        right: the other.
        programs: paths of both programs, for the numbers of their operators.
    """
    layers = differing({"architecture": left.architecture[:12]}, {"architecture": right.architecture[:12]})
    operators = [{"operators": program_operators(path)} for path in programs]
    training = [
        {**to_builtins(version.lineage), "metrics": version.metrics, "tools": version.tools}
        for version in (left, right)
    ]
    return {"layers": layers + differing(operators[0], operators[1]), "training": differing(training[0], training[1])}


def of_variants(left: Variant | None, right: Variant | None) -> dict[str, tuple[Difference, ...]]:
    """Return what differs in how they were built; a program was not."""
    return {"build": differing(_build(left), _build(right))}


def program_operators(path: Path) -> dict[str, int]:
    """Return how often each operator stands in a program, without opening it; empty where the file says nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if "/models/" in name and name.endswith(".json")]
            graphs = [json.loads(archive.read(name)) for name in names]
            nodes = [node for graph in graphs for node in graph["graph_module"]["graph"]["nodes"]]
            return dict(Counter(str(node["target"]).removeprefix("torch.ops.") for node in nodes))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return {}


def _classes(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[Difference, ...]:
    if left == right:
        return ()
    if sorted(left) == sorted(right):
        moved = [index for index, pair in enumerate(zip(left, right, strict=True)) if pair[0] != pair[1]]
        what = f"order: {len(moved)} of {len(left)} classes stand elsewhere"
        return (Difference(what=what, left=_text(list(left)), right=_text(list(right))),)
    gone = [name for name in left if name not in right]
    new = [name for name in right if name not in left]
    if not gone and not new:
        return (Difference(what="names", left=_text(list(left)), right=_text(list(right))),)
    return (Difference(what="only in one", left=_text(gone), right=_text(new)),)


def _by_name(part: dict[str, Any]) -> dict[str, Any]:
    tensors = {
        kind: {tensor["name"]: {"dtype": tensor["dtype"], "shape": tensor["shape"]} for tensor in part[kind]}
        for kind in ("inputs", "outputs")
    }
    return {**part, **tensors}


def _build(variant: Variant | None) -> dict[str, Any]:
    if variant is None:
        return {"target": "program"}
    receipt = variant.receipt
    return {
        "target": variant.name,
        "engine": variant.engine,
        "batch": variant.batch,
        "options": receipt.effective,
        "overrides": list(receipt.overrides),
        "tools": receipt.tools,
        "calibration": None if receipt.calibration is None else receipt.calibration.sha256[:12],
    }


def _text(value: object) -> str:
    if value is None or value == []:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
