"""wherry carries a trained model from the training machine to every device, and proves that it arrived.

The road, one word for each thing, and each step only reachable from the one before it:

    checkpoint -> version -> variants -> proof -> bundle -> device -> serving

    import wherry
    from wherry import Registry, Target, agent, delivery

    with Registry.open(Path("registry")) as registry:
        version, _ = delivery.register(registry, submission, who="ana", why="first training")
        delivery.export(registry, version.name, [Target.parse("onnx-fp32")])
        delivery.prove(registry, version.name)
        signed = delivery.bundle(registry, version.name, shipment)
    agent.install(Path("/opt/embereye"), signed.path)

    with wherry.load("fire-detector@v1") as model:
        print(model.predict("garden.jpg"))

Open `wherry.delivery` first: it is the training site's half of the road in reading order; `wherry.agent` is the
device's half. Each verb of the command line is a function of the same name there. Importing this package imports
nothing heavy; each name below is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.core.errors import WherryError
    from wherry.core.variant import Target
    from wherry.delivery import Shipment, Submission, load
    from wherry.proof.record import Examples
    from wherry.registry import Registry

_HOMES = {
    "Examples": "wherry.proof.record",
    "Registry": "wherry.registry",
    "Shipment": "wherry.delivery",
    "Submission": "wherry.delivery",
    "Target": "wherry.core.variant",
    "WherryError": "wherry.core.errors",
    "load": "wherry.delivery",
}

__all__ = ["Examples", "Registry", "Shipment", "Submission", "Target", "WherryError", "load"]


def __getattr__(name: str) -> object:
    """Load a public name from its room on first use."""
    if name not in _HOMES:
        msg = f"module 'wherry' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
