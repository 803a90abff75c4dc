"""Last chapter: the proven variants of a version become one signed bundle."""

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.core.errors import ProofRefusedError
from wherry.core.manifest import Manifest
from wherry.core.model import Version, check_name
from wherry.core.variant import Variant
from wherry.delivery.proving import newest

if TYPE_CHECKING:
    from wherry.bundle.pack import Bundle
    from wherry.bundle.trust.sign import SignedBundle
    from wherry.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """How a bundle is to be made."""

    product: str
    """What its files are called on a device."""
    trust: Path
    """Folder of the publisher's keys and metadata, made by `wherry keys init`."""
    out: Path | None = None
    """Folder for the signed bundle; None puts it among the version's packages in the readable tree."""
    who: str
    why: str
    expires_days: int = 90


def bundle(registry: "Registry", ref: str, shipment: Shipment) -> "SignedBundle":
    """Pack every proven variant of a version into one signed file, as the product's next release.

    Raises:
        NotFoundError: an unknown version.
        ProofRefusedError: no variant has a passed proof.
        SignatureError: the keys are missing or unusable.
    """
    from wherry.bundle.trust.keys import root_bytes
    from wherry.bundle.trust.sign import sign

    version = registry.version(ref)
    root_bytes(shipment.trust)  # without keys nothing is reserved and nothing is staged
    now = datetime.now(UTC).replace(microsecond=0)
    with tempfile.TemporaryDirectory(dir=registry.root) as scratch:
        packed = stage(registry, version, shipment, Path(scratch), now)
        target = destination(registry, packed.manifest, shipment.out)
        return sign(packed, shipment.trust, target, now=now, expires_days=shipment.expires_days)


def destination(registry: "Registry", manifest: Manifest, out: Path | None) -> Path:
    """Return where a bundle goes: `EmberEye_v2_auto_all.zip`, with the release in it where that name is taken."""
    folder = out or registry.root / "models" / manifest.model / "exports" / f"v{manifest.version}" / "packages"
    name = f"{manifest.product}_v{manifest.version}_auto_all"
    plain = folder / f"{name}.zip"
    return folder / f"{name}_r{manifest.release}.zip" if plain.exists() else plain


def stage(registry: "Registry", version: Version, shipment: Shipment, folder: Path, now: datetime) -> "Bundle":
    """Lay out an unsigned bundle in `folder`: the recommended variant first, weights once, everything re-hashed.

    Raises:
        ProofRefusedError: no variant has a passed proof.
        DigestMismatchError: a file is not what was proven.
    """
    from wherry.bundle.pack import BundleDraft, PackEntry, pack
    from wherry.bundle.profiles import deployment_profiles
    from wherry.proof.prove import accept

    entries = []
    for variant in _recommended_first(registry, version):
        report = newest(registry.reports(variant.digest))
        if report is None or not report.passed:
            continue
        files = folder / "variants" / variant.name
        registry.materialize(variant.files, files)
        measurement = newest(registry.measurements(variant.digest))
        entries.append(PackEntry(proven=accept(variant, report), files=files, measurement=measurement))
    if not entries:
        msg = f"{version.name} has no proven variant, so there is nothing to ship."
        raise ProofRefusedError(msg, next_step=f"Run `wherry export {version.name} --all`, then `wherry prove`.")
    event = registry.next_release(
        check_name(shipment.product, "a product's name"),
        version.model,
        version.number,
        who=shipment.who,
        why=shipment.why,
    )
    draft = BundleDraft(
        product=shipment.product,
        model=version.model,
        version=version,
        release=int(event.details["release"]),
        entries=tuple(entries),
        golden=registry.blob_path(version.golden.sha256),
        profiles=deployment_profiles(shipment.product, [entry.proven.variant for entry in entries]),
        created_at=now.isoformat(),
        notes=shipment.why,
    )
    return pack(draft, folder / "bundle")


def _recommended_first(registry: "Registry", version: Version) -> list[Variant]:
    variants = registry.variants(version.model, version.number)
    speed = {v.digest: m.p50_ms for v in variants if (m := newest(registry.measurements(v.digest)))}
    return sorted(variants, key=lambda v: (speed.get(v.digest, float("inf")), v.name))
