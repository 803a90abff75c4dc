"""The live release as a predictor, for a program that runs on the device itself."""

from pathlib import Path

from wherry.agent.device import current_release
from wherry.runtime.interface import EngineOptions
from wherry.runtime.predictor import Opened, Predictor


def load(root: Path, *, threads: int = 0) -> Predictor:
    """Open the release that is live on a device, on what it was proven on.

    The files stay as they are while it is open, also after an update: open it again to get the new release.

    Raises:
        NotFoundError: nothing is installed there.
        EngineError: the runtime refuses the file.
    """
    release = current_release(root)
    manifest, variant = release.manifest, release.entry.variant
    return Predictor(
        Opened(
            name=f"{manifest.product} v{manifest.version} {variant.name}",
            main=release.main,
            spec=manifest.spec,
            engine=variant.engine,
            batch=variant.batch,
            options=EngineOptions(device=release.device, threads=threads),
        )
    )
