"""The readable tree: a registry's files under the product's names, for `ls` and `cat` (contract row F6).

    models/<model>/v2/weights/EmberEye.pt        the checkpoint, and the program as EmberEye.pt2
    models/<model>/v2/metadata.json              lineage and metrics (contract row F2)
    models/<model>/current_best.pt               one link for each alias
    models/<model>/exports/v2/EmberEye.onnx      the variants

It is a view: derived, repaired by running it again, and never the source of truth.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from wherry.core.codec import from_json, to_builtins, to_json
from wherry.core.digest import FileRef
from wherry.core.errors import DocumentError
from wherry.core.model import Version, check_name
from wherry.core.variant import METADATA_FILE, Variant
from wherry.registry.registry import Registry
from wherry.registry.view import Plan, alone, make

_PAGE = 200


def refresh(registry: Registry, model: str, product: str) -> Path:
    """Make the tree of one model say what the registry says, and return its folder.

    Safe to run again and beside other processes. Only what an earlier run made is ever replaced or removed.

    Args:
        registry: an open registry.
        model: the model.
        product: what its files are called, such as `EmberEye`.

    Raises:
        NotFoundError: no such model, or a blob is missing.
        BadInputError: the product's name cannot be used, or somebody else's file is in the way; it is left alone.
        StorageError: the tree cannot be written.
        BusyError: another process has been at it for too long.
    """
    check_name(product, "a product")
    folder = (registry.root / "models" / model).resolve()
    registry.versions(model, limit=1)
    # The plan is made under the lock, so a slow process never puts an older view over a newer one.
    with alone(folder):
        make(folder, _plan(registry, model, product, folder))
    return folder


def product_of(registry: Registry, model: str) -> str | None:
    """Return the product that the model's tree was last made for, or None where there is no tree that says so."""
    for path in sorted((registry.root / "models" / model).glob("v*/metadata.json")):
        try:
            found = from_json(path.read_bytes(), dict[str, Any], what=str(path)).get("product")
        except (OSError, DocumentError):
            continue
        if isinstance(found, str):
            return found
    return None


def metadata(version: Version, product: str) -> dict[str, Any]:
    """Return what stands in `metadata.json`: the fields of contract row F2 at the top, then what they describe."""
    return {
        **to_builtins(version.lineage),
        "model": version.model,
        "product": product,
        "version": f"v{version.number}",
        "semantic_version": version.semantic_version,
        "created_at": version.created_at,
        "digest": version.digest,
        "metrics": version.metrics,
        "spec": version.spec,
        "architecture": version.architecture,
        "tools": version.tools,
        "files": {"program": version.program, "checkpoint": version.checkpoint, "golden": version.golden},
    }


def _plan(registry: Registry, model: str, product: str, folder: Path) -> Plan:
    plan: Plan = {}
    mains: dict[int, str] = {}
    # Read before the versions: an alias that moves meanwhile may point at one that was not there yet.
    live = registry.aliases(model)
    before: int | None = None
    while page := registry.versions(model, before=before, limit=_PAGE):
        for version in page:
            weights = weight_names(version, product)
            mains[version.number] = f"v{version.number}/weights/{next(iter(weights))}"
            named = {f"v{version.number}/weights/{name}": ref for name, ref in weights.items()}
            exports = export_names(registry.variants(model, version.number), product)
            named |= {f"exports/v{version.number}/{name}": ref for name, ref in exports.items()}
            plan |= {name: registry.blob_path(ref.sha256).resolve() for name, ref in named.items()}
            plan[f"v{version.number}/metadata.json"] = to_json(metadata(version, product))
        before = page[-1].number
    for alias, number in live.items():
        plan[f"{alias}{PurePosixPath(mains[number]).suffix}"] = folder / mains[number]
    return plan


def weight_names(version: Version, product: str) -> dict[str, FileRef]:
    """Return the files in `weights/` by name, the main one first: checkpoint, its companions, program."""
    names: dict[str, FileRef] = {}
    for index, ref in enumerate(version.checkpoint):
        path = PurePosixPath(ref.path)
        names[f"{product}{path.suffix}" if index == 0 else _free(path.name, names)] = ref
    suffix = PurePosixPath(version.program.path).suffix
    plain = f"{product}{suffix}"
    names[plain if plain not in names else _free(f"{product}_program{suffix}", names)] = version.program
    return names


def export_names(variants: list[Variant], product: str) -> dict[str, FileRef]:
    """Return the files in `exports/v2/` by name.

    `EmberEye.onnx`, `EmberEye_int8.onnx`; where two variants would share a name the second holds its target's name. A
    variant whose files know each other by name keeps those names, in a folder named after its target. The metadata
    beside a main file is named after it: `EmberEye.onnx.json`.
    """
    names: dict[str, FileRef] = {}
    for variant in variants:
        main = PurePosixPath(variant.files[0].path)
        if main.parent.suffix:  # a package: a folder with an extension, whose files know each other by name
            names |= {f"{variant.name}/{ref.path}": ref for ref in variant.files}
            continue
        known = [ref for ref in variant.files if ref.path != METADATA_FILE]
        if any(PurePosixPath(ref.path).with_suffix(main.suffix) != main for ref in known):
            first, *others = variant.files
            names |= {f"{variant.name}/{ref.path}": ref for ref in others}
            names[f"{variant.name}/{main.with_name(product + main.suffix)}"] = first
            continue
        precision = variant.target.precision
        short = {_ending(product, "" if precision == "fp32" else precision, ref): ref for ref in known}
        full = {_ending(product, variant.name, ref): ref for ref in known}
        chosen = short if names.keys().isdisjoint(short) else full
        names |= chosen
        for ref in variant.files:
            if ref.path == METADATA_FILE:
                names[f"{next(iter(chosen))}.json"] = ref
    return names


def export_folder(folder: Path, variant: Variant) -> Path:
    """Return where the readable tree of a model has a variant whose files keep their names."""
    return folder / "exports" / f"v{variant.version}" / variant.name


def _ending(product: str, tail: str, ref: FileRef) -> str:
    return f"{product}{f'_{tail}' if tail else ''}{PurePosixPath(ref.path).suffix}"


def _free(name: str, taken: dict[str, FileRef]) -> str:
    path, count = PurePosixPath(name), 1
    while name in taken:
        count += 1
        name = f"{path.stem}_{count}{path.suffix}"
    return name
