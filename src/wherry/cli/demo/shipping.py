"""Steps 6 to 8 of the demo: pack and sign, install on a device, serve."""

import json
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherry import delivery
from wherry.agent import Hooks, current_release, detect, init_device
from wherry.agent import install as install_bundle
from wherry.bundle.trust.keys import init_keys, root_bytes
from wherry.cli.demo import site
from wherry.cli.demo.world import WHO, World
from wherry.cli.output import megabytes, percent, table
from wherry.jobs.child import run_in_child
from wherry.registry import Registry
from wherry.runtime.engines import engine_class
from wherry.runtime.interface import EngineOptions
from wherry.runtime.preprocess import prepare

if TYPE_CHECKING:
    from wherry.agent import InstallReport
    from wherry.bundle.trust.sign import SignedBundle
    from wherry.core.model import Version
    from wherry.proof.record import Examples

_BATCH = 32
_FRESH = timedelta(days=30)  # a bundle of an earlier run is used again while its signatures are younger than this


def pack(world: World, versions: "Sequence[Version]") -> list[Path]:
    """Step 6: one signed bundle for every device, for v1 and v2."""
    with world.step("pack", "Pack and sign: one file for every device") as numbers:
        if (world.trust / "metadata").exists():
            world.note_reuse("the publisher's keys")
        else:
            init_keys(world.trust)
            world.say(f"Keys made in {world.trust}.")
        with Registry.open(world.registry) as registry:
            paths = [
                pack_one(world, registry, version, numbers, why=f"version {version.number} for all sites")
                for version in versions
            ]
    return paths


def pack_one(world: World, registry: Registry, version: "Version", numbers: dict[str, Any], *, why: str) -> Path:
    """Bundle one version as the next release, and tell what is in it."""
    shipment = delivery.Shipment(product=world.product, trust=world.trust, who=WHO, why=why)
    content = sorted(variant.digest for variant in registry.variants(version.model, version.number))
    note = once(world, f"bundle-v{version.number}", content, lambda: delivery.bundle(registry, version.name, shipment))
    numbers[f"v{version.number}"] = note
    ratio = note["bytes_of_weights_shipped"] / max(note["bytes_of_variants"], 1)
    name = Path(note["path"]).name
    world.say(f"{name}: release {note['release']}, {megabytes(note['size'])}, {len(note['targets'])} variants.")
    world.say(f"{len(note['profiles'])} device profiles share its blobs ({ratio:.2f} x the variants once).")
    return Path(note["path"])


def once(world: World, key: str, content: list[str], make: "Callable[[], SignedBundle]") -> dict[str, Any]:
    """Return the note of a signed bundle: of an earlier run if it still holds, otherwise of one made now.

    Releases only go up, so once one bundle of this run is new, all later ones are made anew as well.
    """
    known = world.recall(key)
    if known and not world.new_releases and known["content"] == content and _usable(known):
        world.note_reuse(f"{Path(known['path']).name}, release {known['release']}")
        return known
    signed = make()
    world.new_releases = True
    note = describe(signed)
    note |= {"content": content, "signed_at": datetime.now(UTC).isoformat()}
    world.remember(key, note)
    return note


def describe(signed: "SignedBundle") -> dict[str, Any]:
    """Return what a bundle holds, in numbers."""
    manifest = signed.manifest
    files = {file.sha256: file.size for entry in manifest.entries for file in entry.variant.files}
    profiles = [
        {"name": p.name, "device_type": p.device_type, "model_file": p.model_file, "target": p.target}
        for p in manifest.profiles
    ]
    return {
        "path": str(signed.path),
        "size": signed.size,
        "sha256": signed.sha256,
        "release": manifest.release,
        "version": manifest.version,
        "targets": [entry.variant.name for entry in manifest.entries],
        "profiles": profiles,
        "bytes_of_variants": sum(entry.variant.size for entry in manifest.entries),
        "bytes_of_weights_shipped": sum(files.values()),
    }


def _usable(note: dict[str, Any]) -> bool:
    age = datetime.now(UTC) - datetime.fromisoformat(note["signed_at"])
    return age < _FRESH and Path(note["path"]).is_file()


def install(world: World, bundles: Sequence[Path]) -> int:
    """Step 7: a fresh device; first v1, then v2 over it. Returns the port of the site's application."""
    with world.step("install", "Install on a device: first v1, then v2 over it") as numbers:
        site.stop(world.device)
        shutil.rmtree(world.device, ignore_errors=True)
        port = free_port()
        init_device(
            world.device,
            product=world.product,
            root_key=root_bytes(world.trust),
            hooks=Hooks(restart=_words(world, "restart", port), health=_words(world, "healthy", port)),
            probation_s=1.5,
            keep=3,
        )
        profile = detect()
        runtimes = ", ".join(f"{name} {version}" for name, version in profile.runtimes.items() if name != "null")
        world.say(f"This device: {profile.cpu}, {profile.cores} cores, {profile.os} {profile.arch}; {runtimes}.")
        reports = [install_bundle(world.device, bundle) for bundle in bundles]
        for report in reports:
            tell_install(world, report)
        numbers["device"] = profile
        numbers["reports"] = reports
        numbers["published"] = sorted(path.name for path in (world.device / "models").iterdir())
        numbers["backups"] = sorted(path.name for path in (world.device / "backups").iterdir())
        world.say(f"models/ holds {', '.join(numbers['published'])}; backups/ holds {', '.join(numbers['backups'])}.")
    return port


def tell_install(world: World, report: "InstallReport") -> None:
    """Tell one installation in a line, with the proof that was run on the device."""
    proof = report.report
    numbers = ""
    if proof is not None and proof.outputs:
        numbers = f"; proof on the device: {percent(proof.metrics['agreement'])} agreement, "
        numbers += f"largest error {max(o.max_abs for o in proof.outputs):.2g}"
    world.say(f"{report.message}{numbers}")


def _words(world: World, verb: str, port: int) -> tuple[str, ...]:
    words = [sys.executable, "-m", "wherry.cli.demo.site", verb]
    return (*words, "--root", str(world.device), "--product", world.product, "--port", str(port))


def free_port() -> int:
    """Return a port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def serve(world: World, held_out: "Examples", port: int) -> None:
    """Step 8: real held-out digits over HTTP with the stock client; the same accuracy as in process."""
    title = "Serve the installed slot, and ask it with the stock tritonclient"
    with world.step("serve", title) as numbers:
        spec = current_release(world.device).manifest.spec
        over_http = ask(world.product, prepare(held_out.raw, spec)["image"], port)
        question = Question(root=str(world.device), raw=held_out.raw.tolist())
        answer = run_in_child("wherry.cli.demo.shipping:answer", question, list[list[float]], timeout_s=120)
        in_process = np.array(answer)
        numbers |= {
            "url": f"http://127.0.0.1:{port}",
            "images": len(held_out.raw),
            "accuracy_over_http": _accuracy(over_http, held_out),
            "accuracy_in_process": _accuracy(in_process, held_out),
            "largest_difference": float(np.abs(over_http - in_process).max()),
            "config": json.loads((world.device / "models" / f"{world.product}_config.json").read_bytes()),
        }
        rows = [
            ("over HTTP", percent(numbers["accuracy_over_http"])),
            ("in process", percent(numbers["accuracy_in_process"])),
            ("largest difference of a logit", f"{numbers['largest_difference']:.2g}"),
        ]
        world.show(table((f"{len(held_out.raw)} unseen images", ""), rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Raw images for the release that is live on a device."""

    root: str
    raw: list[list[list[int]]]


def answer(question: Question) -> list[list[float]]:
    """Return the logits that the live release gives in process, without a server."""
    release = current_release(Path(question.root))
    spec, variant = release.manifest.spec, release.entry.variant
    options = EngineOptions(device=release.device)
    with engine_class(variant.engine)(release.main, spec, batch=variant.batch, options=options) as engine:
        logits = engine.run(prepare(np.array(question.raw, dtype=np.uint8), spec))["logits"]
    found: list[list[float]] = logits.tolist()
    return found


def ask(model: str, images: Any, port: int) -> Any:
    """Send images in batches through `tritonclient.http` and return the logits."""
    import tritonclient.http as triton

    answers = []
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            given = triton.InferInput("image", list(part.shape), "FP32")
            given.set_data_from_numpy(part)
            answers.append(client.infer(model, [given]).as_numpy("logits"))
    return np.concatenate(answers)


def _accuracy(logits: Any, examples: "Examples") -> float:
    return float((logits.argmax(axis=1) == examples.labels).mean())
