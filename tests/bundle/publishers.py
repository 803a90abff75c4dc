"""Small real bundles: a null-engine variant of a few hundred bytes, proven, packed, signed."""

import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wherry.bundle.archive import Source, write_archive
from wherry.bundle.pack import Bundle, BundleDraft, PackEntry, pack
from wherry.bundle.profiles import deployment_profiles
from wherry.bundle.trust.keys import init_keys, root_bytes
from wherry.bundle.trust.sign import SignedBundle, sign
from wherry.core.digest import FileRef, sha256_hex
from wherry.core.model import Lineage, ModelSpec, TensorSpec, Version
from wherry.core.report import EngineInfo, OutputError, Proven, Report, Tolerance, Verdict
from wherry.core.variant import Receipt, Target, Variant

NOW = datetime(2031, 5, 17, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def make_version(golden: FileRef, number: int = 2) -> Version:
    tensor = TensorSpec(name="x", dtype="float32", shape=("batch", 4))
    return Version(
        model="fire-detector",
        number=number,
        semantic_version=f"1.{number}.0",
        created_at="2031-05-16T08:00:00+00:00",
        spec=ModelSpec(task="classification", inputs=(tensor,), outputs=(tensor,), class_names=("fire", "no fire")),
        program=FileRef.of("program.pt2", b"program"),
        checkpoint=(FileRef.of("checkpoint.pt", b"weights"),),
        golden=golden,
        lineage=Lineage(timestamp="2031-05-16T08:00:00+00:00", training_images=1100, new_images=100),
        metrics={"accuracy": 0.97},
        architecture=sha256_hex(b"architecture"),
        tools={"torch": "2.13.0"},
        digest=sha256_hex(f"version {number}".encode()),
    )


def make_variant(version: Version, target: str, files: dict[str, bytes], engine: str = "null") -> Variant:
    return Variant(
        model=version.model,
        version=version.number,
        version_digest=version.digest,
        target=Target.parse(target),
        engine=engine,
        files=tuple(FileRef.of(name, data) for name, data in files.items()),
        batch=None,
        receipt=Receipt(
            created_at=version.created_at, source=version.program.sha256, tools={}, requested={}, effective={}
        ),
    )


def make_report(variant: Variant, golden: FileRef, verdict: Verdict = Verdict.PASS) -> Report:
    return Report(
        variant=variant.digest,
        target=variant.name,
        golden=golden.sha256,
        where="build",
        verdict=verdict,
        reasons=() if verdict is Verdict.PASS else ("It differs.",),
        samples=8,
        outputs=(OutputError(name="x", max_abs=0.0, mean_abs=0.0, cosine=1.0, snr_db=None),),
        metrics={"accuracy": 0.97},
        tolerance=Tolerance(min_cosine=0.999, max_abs=1e-3, min_agreement=1.0, max_metric_drop=0.0),
        engine=EngineInfo(engine=variant.engine, version="built in", device="cpu"),
        not_covered=(),
        seconds=0.1,
        at="2031-05-16T09:00:00+00:00",
    )


@dataclass
class Publisher:
    """A training site: makes keys, drafts, bundles."""

    folder: Path
    now: datetime = NOW
    product: str = "EmberEye"
    made: int = field(default=0)

    @property
    def trust(self) -> Path:
        return self.folder / "trust"

    def draft(self, release: int = 1, *, weights: bytes = b"", number: int = 2, notes: str = "") -> BundleDraft:
        self.made += 1
        work = self.folder / f"work{self.made}"
        work.mkdir(parents=True)
        golden_bytes = b"golden" * 20
        golden = FileRef.of("golden.npz", golden_bytes)
        (work / "golden.npz").write_bytes(golden_bytes)
        version = make_version(golden, number)
        weights = weights or f"weights of release {release}".encode() * 10
        contents = {
            "onnx-fp32": ({"model.onnx": weights, "model.onnx.data": b"shared tensors" * 9}, "onnxruntime"),
            "null-fp32": ({"model.null": weights, "parts/extra.bin": b"shared tensors" * 9}, "null"),
        }
        entries = []
        for target, (files, engine) in contents.items():
            variant = make_variant(version, target, files, engine)
            for name, data in files.items():
                path = work / target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            entries.append(
                PackEntry(proven=Proven(variant=variant, report=make_report(variant, golden)), files=work / target)
            )
        return BundleDraft(
            product=self.product,
            model=version.model,
            version=version,
            release=release,
            entries=tuple(entries),
            golden=work / "golden.npz",
            profiles=deployment_profiles(self.product, [entry.proven.variant for entry in entries]),
            created_at=self.now.isoformat(),
            notes=notes,
        )

    def packed(self, release: int = 1, **options: object) -> Bundle:
        draft = self.draft(release, **options)
        return pack(draft, self.folder / f"bundle{self.made}")

    def signed(
        self, release: int = 1, *, now: datetime | None = None, expires_days: int = 90, **options: object
    ) -> SignedBundle:
        if not self.trust.exists():
            init_keys(self.trust, now=self.now)
        bundle = self.packed(release, **options)
        destination = self.folder / f"{self.product}_r{release}_{self.made}.zip"
        return sign(bundle, self.trust, destination, now=now or self.now, expires_days=expires_days)

    @property
    def root(self) -> bytes:
        return root_bytes(self.trust)


def everything(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def read_members(path: Path) -> dict[str, bytes]:
    """Return every member of a .zip, read by the standard library."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path: Path, members: dict[str, bytes]) -> Path:
    """Write a .zip in the layout that is accepted, whatever the members are."""
    with path.open("w+b") as file:
        write_archive(file, {name: Source(data=data) for name, data in members.items()})
    return path


def altered(path: Path, changes: dict[str, bytes | None]) -> Path:
    """Write a copy of a .zip with members changed, added or (None) left out."""
    members = read_members(path)
    for name, data in changes.items():
        if data is None:
            del members[name]
        else:
            members[name] = data
    return write_members(path.with_name(f"altered_{path.name}"), members)


def member_named(path: Path, part: str) -> str:
    """Return the name of the one member that holds `part`."""
    (name,) = [name for name in read_members(path) if part in name]
    return name
