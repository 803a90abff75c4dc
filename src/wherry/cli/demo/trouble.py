"""Step 9 of the demo: four things go wrong on purpose, each through the real command line."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry import delivery
from wherry.agent import status
from wherry.bundle.trust.sign import sign
from wherry.cli.demo.making import export_one, register_one
from wherry.cli.demo.sabotage import corrupt_before_signing, flip_one_byte
from wherry.cli.demo.shipping import once, pack_one
from wherry.cli.demo.world import MODEL, WHO, World
from wherry.cli.output import table
from wherry.core.digest import sha256_hex
from wherry.core.errors import WherryError
from wherry.registry import Registry, tree

if TYPE_CHECKING:
    from wherry.bundle.trust.sign import SignedBundle
    from wherry.cli.demo.training import Trained
    from wherry.core.model import Version

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TIMEOUT_S = 120


def go_wrong(world: World, trained: "Sequence[Trained]") -> None:
    """Step 9: a damaged bundle, corrupted weights, an unhealthy service, and a decision to go back."""
    title = "Go wrong on purpose"
    with world.step("trouble", title) as numbers, Registry.open(world.registry) as registry:
        third = _third_version(world, registry, trained[1], numbers)
        corrupted = _corrupted_bundle(world, registry, third)
        damaged = flip_one_byte(corrupted)
        numbers["flipped_byte"] = _try(world, damaged, "one byte of the bundle was flipped on the way")
        numbers["corrupted_weights"] = _try(world, corrupted, "v3's weights were corrupted before it was signed")
        healthy = pack_one(world, registry, third, numbers, why="version 3, packed as it should be")
        numbers["unhealthy_service"] = _try(world, healthy, "v3 proves well, but the site cannot live with it")
        numbers["rollback"] = _back_to_first(world, registry)
        rows = [
            (name.replace("_", " "), tried["exit_code"], tried["live_before"], tried["live_after"])
            for name, tried in numbers.items()
            if isinstance(tried, dict) and "exit_code" in tried
        ]
        world.show(table(("trouble", "exit code", "live before", "live after"), rows))


def _third_version(world: World, registry: Registry, second: "Trained", numbers: dict[str, Any]) -> "Version":
    spec = replace(second.spec, class_names=_WORDS)
    version, new = register_one(registry, second, spec, why="the classes get English names")
    if not new:
        world.note_reuse(f"{version.name}, registered before")
    world.say("v3 has v2's weights, and its classes are called zero to nine instead of 0 to 9.")
    numbers["export"] = export_one(world, registry, version, ("onnx-fp32",), second)
    reports = delivery.prove(registry, version.name)
    numbers["proof"] = reports
    return version


def _corrupted_bundle(world: World, registry: Registry, version: "Version") -> Path:
    """Pack v3, corrupt its weights as a broken build machine would, and only then sign it."""
    why = "version 3, from a broken build machine"
    shipment = delivery.Shipment(product=world.product, trust=world.trust, who=WHO, why=why)

    def make() -> "SignedBundle":
        now = datetime.now(UTC).replace(microsecond=0)
        with tempfile.TemporaryDirectory(dir=world.folder) as staging:
            packed = corrupt_before_signing(delivery.stage(registry, version, shipment, Path(staging), now))
            return sign(packed, world.trust, delivery.destination(registry, packed.manifest, None), now=now)

    return Path(once(world, "bundle-corrupted", [version.digest], make)["path"])


def _try(world: World, bundle: Path, story: str) -> dict[str, Any]:
    """Install with the real command, and say what was live before and after."""
    before = _live(world)
    words = [sys.executable, "-m", "wherry", "device", "install", str(bundle), "--root", str(world.device), "--json"]
    done = subprocess.run(words, capture_output=True, timeout=_TIMEOUT_S, check=False)
    after = _live(world)
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("wherry: ")]
    outcome = lines[-1].removeprefix("wherry: ") if lines else "installed"
    world.say(story, style="bold")
    world.say(f"exit code {done.returncode}: {outcome}")
    return {
        "story": story,
        "exit_code": done.returncode,
        "outcome": outcome,
        "live_before": before["name"],
        "live_after": after["name"],
        "unchanged": before == after,
        "answer": json.loads(done.stdout),
    }


def _live(world: World) -> dict[str, Any]:
    now = status(world.device)
    models = sorted(path for path in (world.device / "models").iterdir() if path.is_file())
    files = {path.name: sha256_hex(path.read_bytes()) for path in models}
    return {"name": f"v{now.version} (release {now.number})", "files": files}


def _back_to_first(world: World, registry: Registry) -> dict[str, Any]:
    """Decide to go back: the alias moves with a reason, and v1 is published as a new, higher release."""
    event = registry.rollback(MODEL, "current_best", who=WHO, why="the customer asks for the first version back")
    version = registry.version(f"{MODEL}@current_best")
    tree.refresh(registry, MODEL, world.product)
    world.say(f"{MODEL}@current_best is back on v{event.version}: {event.why}.")
    shipment = delivery.Shipment(product=world.product, trust=world.trust, who=WHO, why=event.why)
    note = once(world, "bundle-back", [version.digest], lambda: delivery.bundle(registry, version.name, shipment))
    path = Path(note["path"])
    tried = _try(world, path, "the decision to go back to v1 is a new release that names the old version")
    tried["event"] = event
    if tried["exit_code"] != 0:
        msg = f"The rollback by decision did not install: {tried['outcome']}"
        raise WherryError(msg)
    return tried
