"""The choice on the device: which variants to try, in which order, and why each other one is out.

A pure function of what the machine has and what the manifest offers. What it cannot know is whether a variant really
runs here; the proof before the switch finds that out, and the next candidate is tried when it does not.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

from wherry.core.device import DeviceProfile, DeviceType
from wherry.core.manifest import DeploymentProfile, Manifest, ManifestEntry
from wherry.core.report import WhyNot


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A variant that may run here."""

    entry: ManifestEntry
    device_type: DeviceType
    model_file: str
    """Product-named file for people: `EmberEye_gpu.pt2`."""
    optimization: str
    """What the deployment profile calls it; empty without one."""
    reason: str

    @property
    def target(self) -> str:
        """Name of the variant."""
        return self.entry.variant.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Candidates, best first, and why the others are out."""

    candidates: tuple[Candidate, ...]
    why_nots: tuple[WhyNot, ...]


def choose(device: DeviceProfile, manifest: Manifest) -> Ranking:
    """Return the variants to try on `device`, best first.

    Deployment profiles come first: by kind of device (GPU, Apple GPU, CPU), among those of one kind in the manifest's
    order. Then the variants that no profile names, recommended first, on the CPU. Where none of these runs, such as on
    a machine that has only PyTorch, what a profile meant for another kind of device is tried on the CPU.
    """
    candidates: list[Candidate] = []
    why_nots: list[WhyNot] = []
    for profile in _by_device_type(device, manifest.profiles):
        reason = _profile_objection(device, manifest, profile)
        entry = manifest.entry(profile.target)
        if reason is not None or entry is None:
            why_nots.append(WhyNot(target=profile.target, reason=reason or ""))
        else:
            candidates.append(_from_profile(entry, profile))
    named = {profile.target for profile in manifest.profiles}
    for entry in manifest.entries:
        if entry.variant.name in named:
            continue
        reason = _runtime_objection(device, entry)
        if reason is None:
            candidates.append(_on_cpu(manifest, entry, "No deployment profile names it; it runs on the CPU."))
        else:
            why_nots.append(WhyNot(target=entry.variant.name, reason=reason))
    if not candidates:
        runs = [entry for entry in manifest.entries if _runtime_objection(device, entry) is None]
        candidates = [
            _on_cpu(manifest, entry, "Nothing meant for this machine runs here; it is tried on the CPU.")
            for entry in runs
        ]
    return Ranking(candidates=tuple(candidates), why_nots=tuple(why_nots))


def _by_device_type(device: DeviceProfile, profiles: tuple[DeploymentProfile, ...]) -> list[DeploymentProfile]:
    order = {kind: place for place, kind in enumerate(device.device_types)}
    return sorted(profiles, key=lambda profile: order.get(profile.device_type, len(order)))


def _profile_objection(device: DeviceProfile, manifest: Manifest, profile: DeploymentProfile) -> str | None:
    if profile.device_type not in device.device_types:
        return f"{profile.name} is for {profile.device_type}, and this machine has {', '.join(device.device_types)}."
    if device.os not in profile.supported_os:
        return f"{profile.name} is for {', '.join(profile.supported_os)}, and this machine runs {device.os}."
    for what, least in profile.requires.items():
        found = device.versions.get(what)
        if found is None or _numbers(found) < _numbers(least):
            return f"{profile.name} needs {what} {least} or newer, and this machine has {found or 'none'}."
    entry = manifest.entry(profile.target)
    if entry is None:
        return f"{profile.name} names {profile.target}, which the bundle does not hold."
    return _runtime_objection(device, entry)


def _runtime_objection(device: DeviceProfile, entry: ManifestEntry) -> str | None:
    if device.runs(entry.variant.engine):
        return None
    return f"The runtime {entry.variant.engine} is not installed here."


def _from_profile(entry: ManifestEntry, profile: DeploymentProfile) -> Candidate:
    return Candidate(
        entry=entry,
        device_type=profile.device_type,
        model_file=profile.model_file,
        optimization=profile.optimization,
        reason=f"{profile.name}: {profile.device_type} is the fastest this machine has for it.",
    )


def _on_cpu(manifest: Manifest, entry: ManifestEntry, reason: str) -> Candidate:
    return Candidate(
        entry=entry,
        device_type="cpu",
        model_file=manifest.product + PurePosixPath(entry.variant.files[0].path).suffix,
        optimization="",
        reason=reason,
    )


def _numbers(version: str) -> tuple[int, ...]:
    """Return `12.2` as `(12, 2)`; what is not a number ends it."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = part.strip()
        if not digits.isdigit():
            break
        numbers.append(int(digits))
    return tuple(numbers)
