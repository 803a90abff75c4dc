"""The verb `serve`: answer V2 Open Inference Protocol requests from a device's slot or from the registry."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherry.cli.options import DEFAULT_REGISTRY, AsJson, Quiet, RegistryPath

if TYPE_CHECKING:
    from wherry.serving.model import ServedModel


def add_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command("serve")(serve)


def serve(
    source: Annotated[str, typer.Argument(help="A device's root folder, or NAME@v2.", metavar="ROOT|NAME@V")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.")] = 8080,
    target: Annotated[
        str | None, typer.Option(help="From the registry: the variant; by default the chosen one.")
    ] = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Serve a model over HTTP until SIGTERM or Ctrl-C; the proof runs before the first request is taken."""
    from wherry.cli.output import emit
    from wherry.serving.server import serve as run_server

    with tempfile.TemporaryDirectory(prefix="wherry-serve-") as scratch:
        if "@" in source and not Path(source).exists():
            model = from_registry(registry, source, target, Path(scratch))
        else:
            model = from_device(Path(source))

        def tell(url: str) -> None:
            result = {"url": url, "model": model.name, "version": model.version, "engine": model.engine}
            emit(result, [f"{model.name} v{model.version} is ready at {url}/v2"], as_json=as_json, quiet=quiet)
            sys.stdout.flush()

        run_server([model], host=host, port=port, on_ready=tell)


def from_device(root: Path) -> "ServedModel":
    """Return the release that is live on a device.

    Raises:
        NotFoundError: nothing is installed there.
    """
    from wherry.agent import current_release
    from wherry.serving.model import ServedModel

    release = current_release(root)
    manifest, variant = release.manifest, release.entry.variant
    return ServedModel(
        name=manifest.product,
        version=manifest.version,
        spec=manifest.spec,
        engine=variant.engine,
        main=release.main,
        batch=variant.batch,
        device=release.device,
        golden=release.golden,
        golden_sha256=manifest.golden.sha256,
        variant=variant,
    )


def from_registry(registry: Path, ref: str, target: str | None, folder: Path) -> "ServedModel":
    """Return a proven variant of a version, its files laid out in `folder`.

    Raises:
        NotFoundError: an unknown version or variant, or none was proven and measured.
    """
    from wherry import delivery
    from wherry.registry import Registry
    from wherry.serving.model import ServedModel

    with Registry.open(registry, create=False) as opened:
        version = opened.version(ref)
        name = target or delivery.choose(opened, ref).target
        variant = delivery.proven_variant(opened, version, name)
        main = opened.materialize(variant.files, folder)
        golden = opened.materialize((version.golden,), folder / "golden")
    return ServedModel(
        name=version.model,
        version=version.number,
        spec=version.spec,
        engine=variant.engine,
        main=main,
        batch=variant.batch,
        device="cpu",
        golden=golden,
        golden_sha256=version.golden.sha256,
        variant=variant,
    )
