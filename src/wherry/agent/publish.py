"""The published view: `models/<Product>.<ext>` and its configuration, what applications read.

Made from the live release after the switch, file by file and each in one atomic step: companions first, then the main
file, then the configuration. It is never read back as the truth, and repaired at every start.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wherry.agent.layout import Layout
from wherry.agent.placing import place
from wherry.bundle.companions import application_config
from wherry.bundle.release import Release
from wherry.core.codec import from_json, to_json
from wherry.core.errors import DocumentError
from wherry.core.variant import Variant
from wherry.durable import atomic_write, fsync_dir, storage_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """One file of the view, and how to see without reading it that it is still the one that was put there."""

    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the view was made from."""

    release: str | None = None
    """Folder name; None when nothing is installed."""
    files: tuple[PublishedFile, ...] = ()


def published_names(product: str, variant: Variant) -> dict[str, str]:
    """Return the name in `models/` of each of the variant's files, main file first.

    The main file gets the product's name; so does a companion that goes by the main file's stem (OpenVINO finds
    `EmberEye.bin` beside `EmberEye.xml`). Any other companion keeps its name, as the main file names it inside (ONNX
    external data). Of a package, which is a folder with an extension, the folder gets the product's name.
    """
    main = PurePosixPath(variant.files[0].path)
    if main.parent.suffix:  # a package, such as CoreML's: the folder is what applications open
        package = f"{product}{main.parent.suffix}"
        return {file.path: f"{package}/{PurePosixPath(file.path).relative_to(main.parent)}" for file in variant.files}
    names = {}
    for file in variant.files:
        path = PurePosixPath(file.path)
        below = path.relative_to(main.parent) if path.is_relative_to(main.parent) else path
        twin = path.parent == main.parent and path.stem == main.stem
        names[file.path] = f"{product}{path.suffix}" if twin else below.as_posix()
    return names


def config_name(product: str) -> str:
    """Return the name of the configuration beside the published model."""
    return f"{product}_config.json"


def model_path(layout: Layout, product: str, release: Release) -> Path:
    """Return where the main file of `release` is published."""
    return layout.models / f"{product}{release.main.suffix}"


def product_files(layout: Layout, product: str) -> list[str]:
    """Return the names in `models/` that belong to the product: what was published, and any `<Product>.<ext>`.

    The second half matters on a machine where the product lived before wherry did.
    """
    with storage_errors(layout.models):
        found = {path.name for path in layout.models.glob(f"{product}.*") if path.is_file()}
        recorded = {file.name for file in read_published(layout).files}
        here = {name for name in {*recorded, config_name(product)} if (layout.models / name).is_file()}
    return sorted(found | here)


def publish(layout: Layout, product: str, release: Release) -> Path:
    """Make the view show `release` and return the path of its main file; what only the old view had, goes.

    Raises:
        StorageError: a file could not be written; each file is whole, the old one or the new.
    """
    old = product_files(layout, product)
    names = published_names(product, release.entry.variant)
    for path, name in reversed(names.items()):
        place(release.folder / path, layout.models / name)
    with storage_errors(layout.models):
        fsync_dir(layout.models)
    atomic_write(layout.models / config_name(product), to_json(describe(product, release)))
    new = [*names.values(), config_name(product)]
    _remove(layout, [name for name in old if name not in new])
    _remember(layout, release.folder.name, new)
    return layout.models / next(iter(names.values()))


def unpublish(layout: Layout, product: str) -> None:
    """Take away what was published, as nothing is installed any more.

    Raises:
        StorageError: a file could not be removed.
    """
    _remove(layout, product_files(layout, product))
    _remember(layout, None, [])


def is_intact(layout: Layout, release: str | None) -> bool:
    """Return whether the view shows `release` and nobody touched it since. Reads no model file."""
    published = read_published(layout)
    if published.release != release:
        return False
    try:
        return all(_seen(layout, file.name) == file for file in published.files)
    except OSError:
        return False


def read_published(layout: Layout) -> Published:
    """Return what the view was made from; nothing when that is not known."""
    with storage_errors(layout.published):
        try:
            data = layout.published.read_bytes()
        except FileNotFoundError:
            return Published()
    try:
        return from_json(data, Published, what=str(layout.published))
    except DocumentError:
        return Published()


def describe(product: str, release: Release) -> dict[str, object]:
    """Return the configuration that stands beside the published model: all an application needs to use it."""
    manifest, variant = release.manifest, release.entry.variant
    profile = next(
        (one for one in manifest.profiles if (one.target, one.device_type) == (variant.name, release.device)), None
    )
    names = published_names(product, variant)
    main = names[variant.files[0].path]
    return application_config(manifest, release.entry, main, release.device) | {
        "schema": 1,
        "release": manifest.release,
        "release_folder": release.folder.name,
        "files": [{"path": names[file.path], "size": file.size, "sha256": file.sha256} for file in variant.files],
        "optimization": profile.optimization if profile else "",
        "requires": profile.requires if profile else {},
        "metrics": manifest.metrics,
    }


def _remove(layout: Layout, names: list[str]) -> None:
    with storage_errors(layout.models):
        for name in names:
            with suppress(FileNotFoundError):
                (layout.models / name).unlink()
            if "/" in name:
                with suppress(OSError):  # the last companion in a folder takes the folder along
                    (layout.models / name).parent.rmdir()
        if names and layout.models.is_dir():
            fsync_dir(layout.models)


def _remember(layout: Layout, release: str | None, names: list[str]) -> None:
    with storage_errors(layout.models):
        files = tuple(_seen(layout, name) for name in names)
    atomic_write(layout.published, to_json(Published(release=release, files=files)))


def _seen(layout: Layout, name: str) -> PublishedFile:
    found = (layout.models / name).stat()
    return PublishedFile(name=name, size=found.st_size, mtime_ns=found.st_mtime_ns)
