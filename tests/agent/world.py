"""A publisher that packs and signs real bundles of null-engine variants, and devices to install them on."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from wherry.agent import DeviceConfig, Hooks, init_device
from wherry.bundle.pack import BundleDraft, PackEntry, pack
from wherry.bundle.profiles import deployment_profiles
from wherry.bundle.trust.keys import init_keys, root_bytes
from wherry.bundle.trust.sign import sign
from wherry.core.digest import FileRef, sha256_hex
from wherry.core.manifest import DeploymentProfile
from wherry.core.model import Lineage, ModelSpec, TensorSpec, Version
from wherry.core.report import Proven, Report
from wherry.core.variant import Receipt, Target, Variant
from wherry.proof.golden import GoldenSet
from wherry.proof.prove import Subject, prove
from wherry.proof.record import Examples, record
from wherry.runtime.interface import NULL_CONTENT

PRODUCT = "EmberEye"
NOW = datetime.now(UTC)
SPEC = ModelSpec(
    task="null",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 4)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch", 3)),),
)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A variant of a bundle to be: its target and its files, main file first."""

    target: str = "null-fp32"
    engine: str = "null"
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Publisher:
    """A training site of null models."""

    folder: Path
    product: str = PRODUCT
    made: int = 0

    @property
    def trust(self) -> Path:
        if not (self.folder / "trust").exists():
            init_keys(self.folder / "trust", now=NOW)
        return self.folder / "trust"

    @property
    def root_key(self) -> bytes:
        return root_bytes(self.trust)

    def bundle(
        self,
        release: int,
        *variants: Made,
        wrong: bool = False,
        profiles: tuple[DeploymentProfile, ...] | None = None,
    ) -> Path:
        """Return a signed bundle; `wrong` ones were changed after their proof and before they were signed."""
        self.made += 1
        work = self.folder / f"work{self.made}"
        variants = variants or (Made(files={"model.null": weights(release)}),)
        for one in variants:
            for name, data in one.files.items():
                path = work / one.target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        golden = self._golden(work, wrong=wrong)
        version = _version(release, golden)
        entries = tuple(_entry(version, one, work, golden, wrong=wrong) for one in variants)
        draft = BundleDraft(
            product=self.product,
            model=version.model,
            version=version,
            release=release,
            entries=entries,
            golden=work / "golden.npz",
            profiles=profiles or deployment_profiles(self.product, [entry.proven.variant for entry in entries]),
            created_at=NOW.isoformat(),
        )
        bundle = pack(draft, self.folder / f"bundle{self.made}")
        return sign(bundle, self.trust, self.folder / f"{self.product}_r{release}_{self.made}.zip", now=NOW).path

    def _golden(self, work: Path, *, wrong: bool) -> FileRef:
        program = work / "program.null"
        work.mkdir(parents=True, exist_ok=True)
        program.write_bytes(NULL_CONTENT)
        raw = np.random.default_rng(7).normal(size=(6, 4)).astype(np.float32)
        golden = record(program, SPEC, Examples(raw=raw), engine="null")
        if wrong:
            golden = GoldenSet(raw=golden.raw, references={name: -one for name, one in golden.references.items()})
        data = golden.to_bytes()
        (work / "golden.npz").write_bytes(data)
        return FileRef.of("golden.npz", data)


def weights(release: int, size: int = 2000) -> bytes:
    """Return the main file of a null model; every release has another one."""
    return NULL_CONTENT + f"release {release}\n".encode() * (size // 10)


def flipped(bundle: Path, destination: Path) -> Path:
    """Return a copy of the bundle in which one byte of a model file differs."""
    data = bytearray(bundle.read_bytes())
    place = data.index(NULL_CONTENT) + len(NULL_CONTENT) + 40
    data[place] ^= 1
    destination.write_bytes(data)
    return destination


def _version(number: int, golden: FileRef) -> Version:
    return Version(
        model="fire-detector",
        number=number,
        semantic_version=f"1.{number}.0",
        created_at=NOW.isoformat(),
        spec=SPEC,
        program=FileRef.of("program.pt2", b"program"),
        checkpoint=(FileRef.of("checkpoint.pt", b"weights"),),
        golden=golden,
        lineage=Lineage(timestamp=NOW.isoformat(), training_images=1100, new_images=100),
        metrics={"accuracy": 0.97},
        architecture=sha256_hex(b"architecture"),
        tools={},
        digest=sha256_hex(f"version {number}".encode()),
    )


def _entry(version: Version, one: Made, work: Path, golden: FileRef, *, wrong: bool) -> PackEntry:
    variant = Variant(
        model=version.model,
        version=version.number,
        version_digest=version.digest,
        target=Target.parse(one.target),
        engine=one.engine,
        files=tuple(FileRef.of(name, data) for name, data in one.files.items()),
        batch=None,
        receipt=Receipt(created_at=NOW.isoformat(), source="0" * 64, tools={}, requested={}, effective={}),
    )
    return PackEntry(proven=_proven(variant, work, golden, wrong=wrong), files=work / one.target)


def _proven(variant: Variant, work: Path, golden: FileRef, *, wrong: bool) -> Proven:
    """Return a real proof where the null engine can give one; otherwise what a dishonest build would claim."""
    honest = replace(variant, engine="null")
    main = work / "program.null"
    good = record(main, SPEC, Examples(raw=GoldenSet.from_bytes((work / "golden.npz").read_bytes()).raw), engine="null")
    subject = Subject(variant=honest, main=main, spec=SPEC, golden=good, golden_sha256=golden.sha256)
    report: Report = replace(prove(subject, where="build").report, variant=variant.digest)
    assert report.passed
    assert not (wrong and golden.sha256 == sha256_hex(good.to_bytes()))
    return Proven(variant=variant, report=report)


@dataclass(frozen=True)
class Device:
    """A device root with the settings that a test wants."""

    root: Path
    publisher: Publisher

    @property
    def healthy(self) -> Path:
        """The health hook looks here: `yes` is healthy."""
        return self.root.parent / f"{self.root.name}.healthy"

    @property
    def models(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.root / "models").rglob("*")) if path.is_file()}

    def init(self, *, health: bool = False, restart: bool = False, **settings: object) -> DeviceConfig:
        hooks = Hooks(
            health=("grep", "-q", "yes", str(self.healthy)) if health else None,
            restart=("sh", "-c", f'echo "$WHERRY_MODEL" >> {self.restarts}') if restart else None,
        )
        self.healthy.write_text("yes")
        defaults = {"hooks": hooks, "probation_s": 0.0, "probe_interval_s": 0.05}
        return init_device(
            self.root, product=self.publisher.product, root_key=self.publisher.root_key, **{**defaults, **settings}
        )

    @property
    def restarts(self) -> Path:
        """The restart hook writes the path of the model here, a line for each restart."""
        return self.root.parent / f"{self.root.name}.restarts"
