"""Whole pickled networks: opened only on request, and through torch's restricted reader even then.

The scan has let the file through by its longer list of exact names. What is opened here is opened with
`torch.load(weights_only=True)`, to which just those names are added that the file holds, for this one call.
"""

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from wherry.checkpoint import allowed_modules
from wherry.core.errors import CheckpointError, ScanRefusedError, ToolchainMissingError

if TYPE_CHECKING:
    from torch import nn

NETWORK_KEYS = ("ema", "model", "net", "network", "module")
"""Where training loops keep a whole network, in the order in which they are looked for; first an average
of the weights, because that is what Ultralytics validates and ships."""


def load_pickled(file: BinaryIO) -> Any:
    """Return what `torch.save` wrote into a scanned file, whole networks included.

    Raises:
        ToolchainMissingError: a library that the network is made of is not installed.
        CheckpointError: the library has no such class, because it is another version.
        ScanRefusedError: it names something that is not on the list.
    """
    import torch

    if _again(file).read(2) != b"PK":
        msg = "It is a whole network in the format of torch before 1.6, and of that format only weights are opened."
        raise CheckpointError(msg, next_step="Load it where it was made, and save its state_dict().")
    names = torch.serialization.get_unsafe_globals_in_checkpoint(_again(file))
    _check_names(names)
    known: list[Any] = [(_named(name), name) for name in names]
    with torch.serialization.safe_globals(known):
        return torch.load(_again(file), map_location="cpu", weights_only=True)


def find_network(value: Any) -> "tuple[nn.Module, str] | None":
    """Return the network in what a checkpoint holds, in float32 and evaluation mode, and under which key it lay."""
    from torch import nn

    if isinstance(value, nn.Module):
        return _ready(value), ""
    if isinstance(value, Mapping):
        for key in NETWORK_KEYS:
            if isinstance(value.get(key), nn.Module):
                return _ready(value[key]), key
    return None


def _ready(network: "nn.Module") -> "nn.Module":
    """Return the network in float32 and evaluation mode, with a detector's head set to give plain tensors.

    Heads of detectors (Ultralytics) give training data beside their answer unless their flag `export` is set, and keep
    what they computed for one batch size unless `dynamic` is.
    """
    network.float().eval()
    for module in network.modules():
        if type(module).__module__.startswith("ultralytics.") and hasattr(module, "export"):
            vars(module).update(export=True, dynamic=True)
    return network


def _check_names(names: Iterable[str]) -> None:
    """Let nothing be imported that the scan would not have let through, should the two ever read a file differently."""
    pairs = (
        allowed_modules.classes() | allowed_modules.functions() | allowed_modules.literals() | allowed_modules.ARGLESS
    )
    strange = sorted(set(names) - {pair.replace(" ", ".") for pair in pairs})
    if strange:
        msg = f"The checkpoint names {strange[0]}, which is not on the list of known networks."
        raise ScanRefusedError(msg)


def _named(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        library = module.partition(".")[0]
        msg = f"The checkpoint's network is made of {library}, which is not installed."
        raise ToolchainMissingError(msg, next_step=f"Run: pip install {library}") from error
    except AttributeError as error:
        msg = f"The checkpoint's network needs {name}, which is not in the installed version."
        raise CheckpointError(msg, next_step="Install the version that the checkpoint was saved with.") from error


def _again(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file
