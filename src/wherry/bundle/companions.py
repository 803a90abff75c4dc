"""Companions: readable files beside the blobs. They follow from the manifest alone: equal bundles, equal bytes."""

from pathlib import PurePosixPath
from typing import Any

from wherry.core.codec import to_builtins, to_json
from wherry.core.device import DeviceType
from wherry.core.manifest import DeploymentProfile, Manifest, ManifestEntry

DEPLOYMENT_MANIFEST = "deployment_manifest.json"
_DEVICES = {"cpu": "any processor", "gpu": "NVIDIA GPU", "mps": "Apple GPU"}
_SYSTEMS = {"windows": "Windows", "macos": "macOS", "linux": "Linux"}
_BEFORE = (
    "You need Python 3.11 or newer, the .zip itself (there is no need to unpack it) and, the first time only, the",
    "publisher's root.json, which must reach you by another way than the .zip. Once for each machine:",
    '  pip install "wherry[device]"',
)
_AFTER = (
    "The best file for the machine is chosen by itself, checked against the golden set on that very machine, and only",
    "then put in the place of the present one, which is backed up first. A later update needs no --root-key.",
)


def companions(manifest: Manifest) -> dict[str, bytes]:
    """Return each companion's name and bytes, sorted by name; `manifest.companions` is not looked at."""
    files = {
        DEPLOYMENT_MANIFEST: to_json(deployment_manifest(manifest)),
        "classes.json": to_json(list(manifest.spec.class_names)),
        "metrics.json": to_json(_metrics(manifest)),
        "README.txt": _readme(manifest).encode(),
    }
    files |= {config_name(profile): to_json(config(manifest, profile)) for profile in manifest.profiles}
    return dict(sorted(files.items()))


def deployment_manifest(manifest: Manifest) -> dict[str, Any]:
    """Return `deployment_manifest.json` with exactly the keys of contract row F5."""
    return {
        "version": f"v{manifest.version}",
        "exported_at": manifest.created_at,
        "deployment_profiles": [
            {
                "name": profile.name,
                "device_type": profile.device_type,
                "model_file": profile.model_file,
                "supported_os": list(profile.supported_os),
                "optimization": profile.optimization,
            }
            for profile in manifest.profiles
        ],
    }


def config_name(profile: DeploymentProfile) -> str:
    """Return the name of a profile's configuration file: `EmberEye_gpu_config.json`."""
    return f"{PurePosixPath(profile.model_file).stem}_config.json"


def config(manifest: Manifest, profile: DeploymentProfile) -> dict[str, Any]:
    """Return what an application needs to run the profile's file."""
    entry = manifest.entry(profile.target)
    found = {} if entry is None else application_config(manifest, entry, profile.model_file, profile.device_type)
    return found | {"optimization": profile.optimization, "requires": profile.requires}


def application_config(
    manifest: Manifest, entry: ManifestEntry, model_file: str, device_type: DeviceType
) -> dict[str, Any]:
    """Return what an application needs to run a variant: the file, what goes in and comes out, what it means.

    The same document stands in a bundle and, with facts about the installation, on a device.
    """
    spec = manifest.spec
    return {
        "product": manifest.product,
        "model": manifest.model,
        "version": manifest.version,
        "semantic_version": manifest.semantic_version,
        "model_file": model_file,
        "device_type": device_type,
        "target": entry.variant.name,
        "engine": entry.variant.engine,
        "precision": entry.variant.target.precision,
        "batch": entry.variant.batch,
        "task": spec.task,
        "inputs": to_builtins(spec.inputs),
        "outputs": to_builtins(spec.outputs),
        "preprocessing": to_builtins(spec.preprocessing),
        "postprocessing": spec.postprocessing,
        "class_names": list(spec.class_names),
    }


def _metrics(manifest: Manifest) -> dict[str, Any]:
    return {
        "version": f"v{manifest.version}",
        "metrics": manifest.metrics,
        "variants": {
            entry.variant.name: {
                "verdict": entry.report.verdict,
                "metrics": entry.report.metrics,
                "size_bytes": entry.variant.size,
                "p50_ms": entry.measurement.p50_ms if entry.measurement else None,
            }
            for entry in manifest.entries
        },
    }


def _readme(manifest: Manifest) -> str:
    product = manifest.product
    title = f"{manifest.name}, made {manifest.created_at}"
    lines = [
        title,
        "=" * len(title),
        "",
        f"Model {manifest.model}, version v{manifest.version} ({manifest.semantic_version}).",
    ]
    lines += [manifest.notes] if manifest.notes else []
    lines += ["", "What is inside", "--------------"]
    for profile in manifest.profiles:
        systems = ", ".join(_SYSTEMS[name] for name in profile.supported_os)
        needs = "".join(f"; needs {name} {version} or newer" for name, version in sorted(profile.requires.items()))
        lines.append(
            f"{profile.model_file}: {_DEVICES[profile.device_type]} on {systems} ({profile.optimization}{needs})"
        )
    lines += ["", "How to install", "--------------", *_BEFORE, ""]
    for system, prompt, root in (
        ("Windows (PowerShell as administrator)", ">", f'"C:\\Program Files\\{product}"'),
        ("macOS (Terminal)", "$ sudo", f"/Applications/{product}"),
        ("Linux", "$ sudo", f"/opt/{product.lower()}"),
    ):
        lines += [system, f"  {prompt} wherry device install BUNDLE.zip --root {root} --root-key root.json", ""]
    return "\n".join([*lines, *_AFTER]) + "\n"
