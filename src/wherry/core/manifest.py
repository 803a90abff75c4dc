"""What a bundle holds: the small document that is signed, and that names every byte by digest."""

from dataclasses import dataclass, field

from wherry.core.device import DeviceType, OsName
from wherry.core.digest import FileRef
from wherry.core.model import Lineage, ModelSpec
from wherry.core.report import Measurement, Report
from wherry.core.variant import Variant

MANIFEST_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentProfile:
    """One line of `deployment_manifest.json` (contract row F5): a kind of device and what it gets."""

    name: str
    """`production_cpu`, `production_gpu_nvidia` or `production_gpu_apple`."""
    device_type: DeviceType
    model_file: str
    """Product-named file: `EmberEye.onnx`, `EmberEye_gpu.pt2`."""
    supported_os: tuple[OsName, ...]
    optimization: str
    """`balanced` or `speed`."""
    target: str
    """The variant behind the file."""
    requires: dict[str, str] = field(default_factory=dict)
    """Smallest versions, such as `{"cuda": "11.8"}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """A proven variant inside a bundle, with the proof that let it in."""

    variant: Variant
    report: Report
    measurement: Measurement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything a device needs to decide, before it reads a single blob."""

    product: str
    model: str
    version: int
    version_digest: str
    semantic_version: str
    release: int
    """Counter of this product's releases; a device never goes back to a lower one."""
    created_at: str
    spec: ModelSpec
    lineage: Lineage
    metrics: dict[str, float]
    golden: FileRef
    entries: tuple[ManifestEntry, ...]
    """Recommended first."""
    profiles: tuple[DeploymentProfile, ...]
    companions: tuple[FileRef, ...] = ()
    """Readable files beside the blobs, signed like everything else."""
    notes: str = ""
    schema: int = MANIFEST_SCHEMA

    @property
    def name(self) -> str:
        """`EmberEye v2 (release 3)`, for people."""
        return f"{self.product} v{self.version} (release {self.release})"

    def entry(self, target: str) -> ManifestEntry | None:
        """Return the entry of that target, or None."""
        return next((entry for entry in self.entries if entry.variant.name == target), None)
