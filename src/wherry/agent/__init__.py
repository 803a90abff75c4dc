"""The device program: it must never be broken.

Killed at any instant, a device comes back on the old release or on the new one, never on neither. `states.py` is the
whole machine on one page: what follows what, what undoes what, and what a start after a crash does. `device.py` and
`inspect.py` hold the verbs. Nothing here imports torch, a runtime or the training site.
"""

from wherry.agent.config import DeviceConfig, Hooks
from wherry.agent.device import current_release, history, init_device, install, recover, rollback
from wherry.agent.inspect import status, verify
from wherry.agent.journal import JournalEntry
from wherry.agent.layout import default_root
from wherry.agent.probe import detect
from wherry.agent.records import AgentEvent, DeviceStatus, InstallReport, Recovery, RollbackReport, VerifyReport
from wherry.agent.states import State

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
    "recover",
    "rollback",
    "status",
    "verify",
]
