"""What the agent tells: events while it works, and reports when it has ended. All of them JSON documents."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from wherry.agent.refusals import Refusal
from wherry.agent.states import State, Way
from wherry.core.report import Report, WhyNot

Outcome = Literal["installed", "already_installed", "rolled_back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent:
    """Something that just happened; for progress on a screen."""

    kind: Literal["entered", "leaving", "progress", "note"]
    """`entered`: the state is on the disk, and nothing was done in it yet. `leaving`: everything in it was done."""
    state: State
    message: str = ""
    done: int = 0
    """Bytes, for `progress`."""
    total: int = 0


OnEvent = Callable[[AgentEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One state that an install went through."""

    state: State
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HookResult:
    """How a hook ended."""

    ok: bool
    why: str
    """Empty when it was well; otherwise one sentence."""
    seconds: float
    output: str = ""
    """The end of what it printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the probation saw."""

    ok: bool
    why: str
    checks: int
    failures: int
    first_success_s: float | None
    """Seconds from the start of the probation to the first healthy answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallReport:
    """How an install ended. A refusal before the switch is an error instead, and the device is unchanged."""

    outcome: Outcome
    message: str
    """One line: `imported EmberEye_gpu.pt (gpu optimized)`."""
    product: str
    release: str
    """Folder name of the release that was asked for."""
    number: int
    version: int
    target: str
    device: str
    """Kind of device that the variant runs on here: `cpu`, `gpu`, `mps`."""
    why: str
    """Why this variant; on a rollback, what led to it."""
    why_nots: tuple[WhyNot, ...] = ()
    report: Report | None = None
    """The proof on this device."""
    health: Health | None = None
    backup: tuple[str, ...] = ()
    """Paths of the backed-up files below the root."""
    live: str | None = None
    """Folder name of the release that is live now."""
    previous: str | None = None
    """Folder name of the release that was live before."""
    metadata_expires: str = ""
    steps: tuple[Step, ...] = ()
    at: str = ""
    schema: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackReport:
    """How a rollback on this device ended."""

    message: str
    left: str
    live: str
    who: str
    why: str
    restart: HookResult | None
    health: HookResult | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What a start found, and what it did about it."""

    found: State
    """The state that the last command was left in."""
    way: Way
    what: str
    """One sentence; empty when there was nothing to do."""
    live: str | None
    repaired: tuple[str, ...] = ()
    """What else was put right, one sentence each."""
    problems: tuple[str, ...] = ()
    """What could not be put right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """What is live, in what state, and what this device thinks of other releases."""

    root: str
    product: str
    state: State
    live: str | None
    version: int | None = None
    semantic_version: str = ""
    number: int | None = None
    target: str = ""
    engine: str = ""
    device: str = ""
    model_file: str = ""
    """Path of the published main file."""
    previous: str | None = None
    trial: bool = False
    busy: bool = False
    """Whether another process is at work on the device."""
    refused: dict[str, Refusal] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    recovery: Recovery | None = None
    last_install: InstallReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """Every byte of the live release, the view made from it, the journal, and the proof once more."""

    passed: bool
    message: str
    """One line."""
    live: str
    files: int
    bytes: int
    problems: tuple[str, ...]
    report: Report | None
