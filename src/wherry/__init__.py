"""wherry carries a trained model from the training machine to every device, and proves that it arrived.

The road, one word for each thing, and each step only reachable from the one before it:

    checkpoint -> version -> variants -> proof -> bundle -> device -> serving

    with wherry.Registry.open(Path("registry")) as registry:
        version, _ = wherry.register(registry, submission, who="ana", why="first training")
        wherry.export(registry, version.name, [wherry.Target.parse("onnx-fp32")])
        wherry.prove(registry, version.name)
        signed = wherry.bundle(registry, version.name, shipment)
    wherry.install(Path("/opt/embereye"), signed.path)

Open `wherry.delivery` first: it is the whole road of the training site in reading order. Importing this package
imports nothing heavy; each name below is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.agent import detect, history, init_device, install, status, verify
    from wherry.core.errors import WherryError
    from wherry.core.variant import Target
    from wherry.delivery import Shipment, Submission, bench, bundle, choose, export, promote, prove, register
    from wherry.proof.record import Examples
    from wherry.registry import Registry

_HOMES = {
    "Examples": "wherry.proof.record",
    "Registry": "wherry.registry",
    "Shipment": "wherry.delivery",
    "Submission": "wherry.delivery",
    "Target": "wherry.core.variant",
    "WherryError": "wherry.core.errors",
    "bench": "wherry.delivery",
    "bundle": "wherry.delivery",
    "choose": "wherry.delivery",
    "detect": "wherry.agent",
    "export": "wherry.delivery",
    "history": "wherry.agent",
    "init_device": "wherry.agent",
    "install": "wherry.agent",
    "promote": "wherry.delivery",
    "prove": "wherry.delivery",
    "register": "wherry.delivery",
    "status": "wherry.agent",
    "verify": "wherry.agent",
}

__all__ = [
    "Examples",
    "Registry",
    "Shipment",
    "Submission",
    "Target",
    "WherryError",
    "bench",
    "bundle",
    "choose",
    "detect",
    "export",
    "history",
    "init_device",
    "install",
    "promote",
    "prove",
    "register",
    "status",
    "verify",
]


def __getattr__(name: str) -> object:
    """Load a public name from its room on first use."""
    if name not in _HOMES:
        msg = f"module 'wherry' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
