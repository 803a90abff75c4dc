"""Device profile: what a machine has, found by probing."""

from dataclasses import dataclass, field
from typing import Literal

OsName = Literal["linux", "windows", "macos"]
DeviceType = Literal["cpu", "gpu", "mps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One accelerator that was found."""

    device_type: DeviceType
    name: str
    driver: str = ""
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """What a machine has."""

    os: OsName
    arch: str
    """`x86_64`, `aarch64`, `arm64`, as the platform names it."""
    cpu: str
    cores: int
    memory_bytes: int
    vector_extensions: tuple[str, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    runtimes: dict[str, str] = field(default_factory=dict)
    """Engines that can be opened here, with their versions: `{"onnxruntime": "1.31.1"}`."""
    versions: dict[str, str] = field(default_factory=dict)
    """What a deployment profile may require by version: `{"cuda": "12.2"}`, `{"macos": "14.1"}`."""

    @property
    def device_types(self) -> tuple[DeviceType, ...]:
        """What can compute here, fastest first; `cpu` is always there."""
        found = {accelerator.device_type for accelerator in self.accelerators}
        order: tuple[DeviceType, ...] = ("gpu", "mps")
        return (*(kind for kind in order if kind in found), "cpu")

    def runs(self, engine: str) -> bool:
        """Return whether the runtime of that member of the engine family is installed there."""
        return engine in self.runtimes
