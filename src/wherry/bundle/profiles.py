"""Deployment profiles: which kind of device gets which variant under which product name (contract rows F4 and F5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from wherry.core.device import DeviceType, OsName
from wherry.core.errors import BadInputError
from wherry.core.manifest import DeploymentProfile
from wherry.core.model import check_name
from wherry.core.variant import Variant

_Pick = Callable[[Sequence[Variant]], Variant | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    name: str
    device_type: DeviceType
    suffix: str
    supported_os: tuple[OsName, ...]
    optimization: str
    requires: tuple[tuple[str, str], ...]
    pick: _Pick


def _recommended(variants: Sequence[Variant]) -> Variant | None:
    return variants[0]


def _for_accelerator(variants: Sequence[Variant]) -> Variant | None:
    """PyTorch runs on every accelerator, and a `.pt` is what people know; ONNX fp32 is the next best.

    int8 variants are made for the CPU.
    """
    full = [variant for variant in variants if variant.target.precision == "fp32"]
    for engine in ("torch", "onnxruntime"):
        found = [variant for variant in full if variant.engine == engine]
        if found:
            return next((variant for variant in found if variant.target.format == "pytorch"), found[0])
    return None


_RULES = (
    _Rule(
        name="production_cpu",
        device_type="cpu",
        suffix="",
        supported_os=("windows", "macos", "linux"),
        optimization="balanced",
        requires=(),
        pick=_recommended,
    ),
    _Rule(
        name="production_gpu_nvidia",
        device_type="gpu",
        suffix="_gpu",
        supported_os=("windows", "linux"),
        optimization="speed",
        requires=(("cuda", "11.8"),),
        pick=_for_accelerator,
    ),
    _Rule(
        name="production_gpu_apple",
        device_type="mps",
        suffix="_mps",
        supported_os=("macos",),
        optimization="speed",
        requires=(("macos", "12.3"),),
        pick=_for_accelerator,
    ),
)


def deployment_profiles(product: str, proven: Sequence[Variant]) -> tuple[DeploymentProfile, ...]:
    """Return the profiles that the proven variants can serve; they may share a variant, whose bytes are stored once.

    Args:
        product: what the files are called on a device, such as `EmberEye`.
        proven: variants with a passed proof, the one recommended for a CPU first.

    Raises:
        BadInputError: there is no variant, or the product's name cannot be a file's name.
    """
    check_name(product, "a product name")
    if not proven:
        msg = "There is no proven variant, so there is nothing to deploy."
        raise BadInputError(msg, next_step="Read the proofs' reports, mend the variants and export again.")
    profiles = []
    for rule in _RULES:
        variant = rule.pick(proven)
        if variant is not None:
            profiles.append(_profile(rule, product, variant))
    return tuple(profiles)


def _profile(rule: _Rule, product: str, variant: Variant) -> DeploymentProfile:
    main = PurePosixPath(variant.files[0].path)
    extension = main.parent.suffix or main.suffix  # a package is a folder with an extension
    return DeploymentProfile(
        name=rule.name,
        device_type=rule.device_type,
        model_file=f"{product}{rule.suffix}{extension}",
        supported_os=rule.supported_os,
        optimization=rule.optimization,
        target=variant.name,
        requires=dict(rule.requires),
    )
