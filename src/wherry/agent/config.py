"""What a device is for: product, hooks, patience and how much is kept, in `device.json`."""

from dataclasses import dataclass, field

from wherry.agent.layout import Layout
from wherry.core.codec import from_json, to_json
from wherry.core.errors import NotFoundError, UsageError
from wherry.durable import atomic_write, storage_errors

CONFIG_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """The device owner's own programs, as argument lists; never a shell, and never from a bundle."""

    restart: tuple[str, ...] | None = None
    """Makes the application read the new model, such as `("systemctl", "restart", "embereye")`."""
    health: tuple[str, ...] | None = None
    """Ends with 0 when the application is healthy."""
    restart_timeout_s: float = 120.0
    health_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """The settings of one device."""

    product: str
    root_sha256: str
    """Digest of the pinned root of trust."""
    hooks: Hooks = field(default_factory=Hooks)
    probation_s: float = 30.0
    """How long a new release is watched before it is committed, in seconds."""
    probe_interval_s: float = 1.0
    """Time between two health checks, in seconds."""
    keep: int = 3
    """Releases kept, the live one and the one before it always among them."""
    keep_backups: int = 5
    """Newest backups kept; the oldest one, from before the first install, is never dropped."""
    gate_timeout_s: float = 600.0
    """Longest time for the proof before the switch, in seconds."""
    gate_memory_bytes: int | None = None
    """Largest resident memory of the proof; None for no limit."""
    threads: int = 0
    """Threads for the proof; 0 lets the runtime decide."""
    schema: int = CONFIG_SCHEMA


def check_config(config: DeviceConfig) -> DeviceConfig:
    """Return `config` if every number makes sense.

    Raises:
        UsageError: a number is negative, or an argument list is empty.
    """
    numbers = {
        "probation": config.probation_s >= 0,
        "probe interval": config.probe_interval_s > 0,
        "number of releases to keep": config.keep >= 1,
        "number of backups to keep": config.keep_backups >= 1,
        "time for the proof": config.gate_timeout_s > 0,
        "time for a hook": config.hooks.restart_timeout_s > 0 and config.hooks.health_timeout_s > 0,
    }
    for what, fits in numbers.items():
        if not fits:
            msg = f"The {what} is too small."
            raise UsageError(msg)
    for name, argv in (("restart", config.hooks.restart), ("health", config.hooks.health)):
        if argv is not None and (not argv or not argv[0]):
            msg = f"The {name} hook names no program."
            raise UsageError(msg, next_step="Give the program and its arguments, or leave the hook out.")
    return config


def read_config(layout: Layout) -> DeviceConfig:
    """Return the settings.

    Raises:
        NotFoundError: the folder is not a device.
        DocumentError: the file was changed into something else.
        StorageError: it cannot be read.
    """
    with storage_errors(layout.config):
        try:
            data = layout.config.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            msg = f"{layout.root} is not a wherry device."
            raise NotFoundError(msg, next_step="Make it one with `wherry device init`.") from error
    return from_json(data, DeviceConfig, what=str(layout.config), schema=CONFIG_SCHEMA)


def write_config(layout: Layout, config: DeviceConfig) -> None:
    """Write the settings.

    Raises:
        StorageError: the folder cannot be written.
    """
    with storage_errors(layout.config):
        atomic_write(layout.config, to_json(config))
