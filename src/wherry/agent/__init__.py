"""The device program: it must never be broken.

Killed at any instant, a device comes back on the old release or on the new one, never on neither. `states.py` is the
whole machine on one page: what follows what, what undoes what, and what a start after a crash does. `device.py` and
`inspect.py` hold the verbs. Nothing here imports torch, a runtime or the training site.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.agent.config import DeviceConfig, Hooks
    from wherry.agent.device import current_release, history, init_device, install, recover, rollback
    from wherry.agent.inspect import status, verify
    from wherry.agent.journal import JournalEntry
    from wherry.agent.layout import default_root
    from wherry.agent.predicting import load
    from wherry.agent.probe import detect
    from wherry.agent.records import AgentEvent, DeviceStatus, InstallReport, Recovery, RollbackReport, VerifyReport
    from wherry.agent.states import State

_HOMES = {
    "AgentEvent": "wherry.agent.records",
    "DeviceConfig": "wherry.agent.config",
    "DeviceStatus": "wherry.agent.records",
    "Hooks": "wherry.agent.config",
    "InstallReport": "wherry.agent.records",
    "JournalEntry": "wherry.agent.journal",
    "Recovery": "wherry.agent.records",
    "RollbackReport": "wherry.agent.records",
    "State": "wherry.agent.states",
    "VerifyReport": "wherry.agent.records",
    "current_release": "wherry.agent.device",
    "default_root": "wherry.agent.layout",
    "detect": "wherry.agent.probe",
    "history": "wherry.agent.device",
    "init_device": "wherry.agent.device",
    "install": "wherry.agent.device",
    "load": "wherry.agent.predicting",
    "recover": "wherry.agent.device",
    "rollback": "wherry.agent.device",
    "status": "wherry.agent.inspect",
    "verify": "wherry.agent.inspect",
}

__all__ = [
    "AgentEvent",
    "DeviceConfig",
    "DeviceStatus",
    "Hooks",
    "InstallReport",
    "JournalEntry",
    "Recovery",
    "RollbackReport",
    "State",
    "VerifyReport",
    "current_release",
    "default_root",
    "detect",
    "history",
    "init_device",
    "install",
    "load",
    "recover",
    "rollback",
    "status",
    "verify",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use, so that `status` does not pay for what only `install` needs."""
    if name not in _HOMES:
        msg = f"module 'wherry.agent' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)
