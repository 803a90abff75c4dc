"""Which libraries are installed, asked without importing one of them."""

import importlib.util
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata


def installed_version(module: str, distributions: Sequence[str] = ()) -> str | None:
    """Return the version of the library that brings `module`, or None when it is not installed.

    Args:
        module: the name that is imported.
        distributions: names under which the library is installed, first found counts; the module's name when empty.

    Returns:
        The version; `unknown` where the module is there without a distribution, as on some vendors' images.
    """
    try:
        if importlib.util.find_spec(module) is None:
            return None
    except (ModuleNotFoundError, ValueError):
        return None
    for name in distributions or (module,):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return "unknown"
