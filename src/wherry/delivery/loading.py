"""A version, an exported file or a file of somebody else becomes a predictor: `wherry.load`."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.core.digest import sha256_hex
from wherry.core.errors import BadInputError, NotFoundError, ProofRefusedError, WherryError
from wherry.core.model import ModelSpec, Version, VersionRef
from wherry.core.variant import Variant
from wherry.delivery.measuring import choose
from wherry.delivery.proving import has_passed, proven_variant

if TYPE_CHECKING:
    from wherry.core.device import DeviceType
    from wherry.registry import Registry
    from wherry.runtime.predictor import Predictor

DEFAULT_REGISTRY = Path("wherry-registry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """How a predictor is to run."""

    device: "DeviceType" = "cpu"
    threads: int = 0
    """0 lets the runtime decide."""


def load(
    source: str | Path,
    *,
    registry: "Registry | Path | None" = None,
    target: str | None = None,
    spec: ModelSpec | Path | None = None,
    engine: str | None = None,
    running: Running | None = None,
) -> "Predictor":
    """Open something that can predict. Use it as a context manager, or close it.

    Args:
        source: `NAME@v2` or `NAME@alias`; a file of a registry's readable tree, such as
            `models/fire/exports/v2/EmberEye.onnx`; or any other model file, with its `spec`.
        registry: where a version is looked for; by default the folder `wherry-registry`. Not needed for a file.
        target: of a version: the variant to open; by default the one that `choose` recommends, or, where nothing was
            measured, the first proven one that runs here.
        spec: of a file from elsewhere: what it takes and gives, as a document or its path.
        engine: of a file from elsewhere: what runs it; by default what its suffix says.
        running: device and threads; by default the CPU.

    Raises:
        NotFoundError: an unknown version, variant or file.
        ProofRefusedError: the variant has no passed proof.
        BadInputError: a file that no registry knows came without a spec, or is no variant.
        ToolchainMissingError: the runtime is not installed.
        EngineError: the runtime refuses the file.
    """
    how = running or Running()
    path = Path(source)
    if isinstance(source, Path) or "@" not in source or path.exists():
        return _load_path(path, spec, engine, how)
    with ExitStack() as stack:
        opened = _opened(registry, stack)
        version = opened.version(VersionRef.parse(source))
        variant = proven_variant(opened, version, target or default_target(opened, version))
        return _open_variant(opened, version, variant, how)


def default_target(registry: "Registry", version: Version) -> str:
    """Return the target that `choose` recommends if it runs here, or the first proven one that does.

    Raises:
        ProofRefusedError: no variant of the version is proven.
        ToolchainMissingError: no runtime of a proven variant is installed.
    """
    from wherry.core.errors import ToolchainMissingError
    from wherry.runtime.engines import engine_class

    proven = [v for v in registry.variants(version.model, version.number) if has_passed(registry, v)]
    if not proven:
        msg = f"{version.name} has no proven variant, so there is nothing to load."
        raise ProofRefusedError(msg, next_step=f"Run `wherry export {version.name} --all`, then `wherry prove`.")
    here = [v.name for v in proven if engine_class(v.engine).unsupported() is None]
    if not here:
        kind = engine_class(proven[0].engine)
        msg = f"No runtime of a proven variant of {version.name} is installed."
        raise ToolchainMissingError(msg, next_step=kind.install_hint())
    try:
        chosen = choose(registry, version.name).target
    except NotFoundError:
        chosen = None
    return chosen if chosen in here else here[0]


def _opened(registry: "Registry | Path | None", stack: ExitStack) -> "Registry":
    from wherry.registry import Registry

    if isinstance(registry, Registry):
        return registry
    return stack.enter_context(Registry.open(registry or DEFAULT_REGISTRY, create=False))


def _open_variant(registry: "Registry", version: Version, variant: Variant, how: Running) -> "Predictor":
    """Lay out the variant's files, which live as long as the predictor."""
    from wherry.runtime.interface import EngineOptions
    from wherry.runtime.predictor import Opened, Predictor

    scratch = tempfile.TemporaryDirectory(prefix="wherry-load-")
    try:
        opened = Opened(
            name=f"{version.name} {variant.name}",
            main=registry.materialize(variant.files, Path(scratch.name)),
            spec=version.spec,
            engine=variant.engine,
            batch=variant.batch,
            options=EngineOptions(device=how.device, threads=how.threads),
        )
        return Predictor(opened, on_close=scratch.cleanup)
    except BaseException:
        scratch.cleanup()
        raise


def _load_path(path: Path, spec: ModelSpec | Path | None, engine: str | None, how: Running) -> "Predictor":
    if (path / "device.json").is_file():
        msg = f"{path} is a device's folder."
        raise BadInputError(msg, next_step=f"Open its live release with wherry.agent.load({str(path)!r}).")
    if not path.is_file():
        msg = f"There is no file {path}."
        raise NotFoundError(msg, next_step="Name a model file, or a version such as NAME@v2.")
    if spec is not None:
        return _load_foreign(path, spec, engine, how)
    root = _registry_above(path)
    if root is None:
        msg = f"{path} lies in no registry, so what it takes and gives is not known."
        raise BadInputError(
            msg, next_step="Give the model spec: load(path, spec='spec.json'), or load a version: NAME@v2."
        )
    from wherry.registry import Registry

    with Registry.open(root, create=False) as registry:
        return _open_variant(registry, *_variant_of(registry, path, root), how)


def _registry_above(path: Path) -> Path | None:
    from wherry.registry.database import FILE_NAME

    return next((folder for folder in path.absolute().parents if (folder / FILE_NAME).is_file()), None)


def _variant_of(registry: "Registry", path: Path, root: Path) -> tuple[Version, Variant]:
    """Return whose main file this is; its place in the readable tree says the version, and its digest the rest."""
    sha256 = sha256_hex(path.read_bytes())
    versions = _versions_at(registry, path.absolute().relative_to(root).parts)
    found = [
        (version, variant)
        for version in versions
        for variant in registry.variants(version.model, version.number)
        if variant.files[0].sha256 == sha256
    ]
    for version, variant in sorted(found, key=lambda pair: not has_passed(registry, pair[1])):
        return version, proven_variant(registry, version, variant.name)
    for version in versions:
        if sha256 in {file.sha256 for file in (version.program, *version.checkpoint)}:
            msg = f"{path.name} is what {version.name} was made of, and not a variant of it."
            raise BadInputError(msg, next_step=f"Load the version itself: load({version.name!r}).")
    msg = f"{path.name} is not the main file of a variant that the registry knows."
    raise BadInputError(msg, next_step="Name a file below exports/, or a version such as NAME@v2.")


def _versions_at(registry: "Registry", parts: tuple[str, ...]) -> list[Version]:
    """Return the versions that a place in the registry's folder can belong to, newest first."""
    if parts[0] != "models" or len(parts) < 3 or parts[1] not in registry.models():
        return [version for model in registry.models() for version in _all_versions(registry, model)]
    found = _all_versions(registry, parts[1])
    named = [version for version in found if f"v{version.number}" in parts]
    return named or found


def _all_versions(registry: "Registry", model: str) -> list[Version]:
    found: list[Version] = []
    while page := registry.versions(model, before=found[-1].number if found else None):
        found += page
    return found


def _load_foreign(path: Path, spec: ModelSpec | Path, engine: str | None, how: Running) -> "Predictor":
    from wherry.runtime.interface import EngineOptions
    from wherry.runtime.predictor import Opened, Predictor

    options = EngineOptions(device=how.device, threads=how.threads)
    document = spec if isinstance(spec, ModelSpec) else _read_spec(Path(spec))
    runs = engine or _engine_for(path)
    return Predictor(Opened(name=path.name, main=path, spec=document, engine=runs, options=options))


def _read_spec(path: Path) -> ModelSpec:
    from wherry.core.codec import from_json

    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise NotFoundError(msg, next_step="Check the path.") from error
    return from_json(data, ModelSpec, what=f"The model spec {path}")


def _engine_for(path: Path) -> str:
    from wherry.export.targets import TARGETS, exporter_class

    kinds = [exporter_class(name) for name in TARGETS]
    engines = {kind.engine for kind in kinds if kind.suffix == path.suffix}
    if len(engines) == 1:
        return engines.pop()
    known = f"one of {', '.join(sorted(engines))}" if engines else "an engine"
    msg = f"The suffix {path.suffix!r} of {path.name} does not say what runs it."
    error: WherryError = BadInputError(msg, next_step=f"Name {known}: load(path, spec=..., engine=...).")
    raise error
