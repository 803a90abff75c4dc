"""From a checkpoint to the network that is captured: built or found in the file, loaded, cut out, folded, wrapped."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wherry.checkpoint.blame import first_line, place_of
from wherry.checkpoint.fitting import load_tensors
from wherry.checkpoint.graphs import as_network, from_script, is_script
from wherry.checkpoint.interface import Checkpoint, Content
from wherry.checkpoint.networks import NetworkName
from wherry.checkpoint.opening import read_again
from wherry.checkpoint.stored import stored_network
from wherry.checkpoint.weightnorm import fold_weight_norm
from wherry.core.errors import BadInputError, WherryError
from wherry.core.model import ModelSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRequest:
    """How the network is to be had, and what of it is to be captured."""

    network: "Callable[[], nn.Module] | NetworkName | None" = None
    """Builds it without its weights; None takes what the checkpoint itself holds or names."""
    submodule: str = ""
    """Dotted path of the part to capture; empty is the whole."""
    adapt: "Callable[[nn.Module], nn.Module] | None" = None
    """Wraps what was cut out, such as splitting a detector's output."""


@dataclass(slots=True, kw_only=True)
class LoadedNetwork:
    """A network with its weights, ready to be captured."""

    network: "nn.Module"
    notes: list[str] = field(default_factory=list)
    """One sentence for each thing that is not as it stood in the file."""


def load_network(checkpoint: Checkpoint, request: NetworkRequest, spec: ModelSpec) -> LoadedNetwork:
    """Return the network of a checkpoint in evaluation mode, with every weight of the file.

    Raises:
        CheckpointError: the weights do not fit, there is no architecture, or the file has changed.
        BadInputError: the factory or the adapter fails, or there is no such sub-module.
        SpecMismatchError: a TorchScript network refuses what the spec says it takes.
    """
    content = read_again(checkpoint)
    loaded = _with_weights(content, checkpoint, request)
    loaded.notes[:0] = content.notes
    loaded.network.eval()
    if request.submodule:
        loaded.network = _submodule(loaded.network, request.submodule)
        loaded.notes.append(f"Captured is the sub-module {request.submodule!r}.")
    if is_script(loaded.network):
        loaded.network = from_script(loaded.network, spec)
        loaded.notes.append("The TorchScript network was made a graph by torch's converter, and compared with it.")
    folded = fold_weight_norm(loaded.network, spec)
    if folded:
        loaded.notes.append(
            f"Weight normalisation was folded into the weights ({folded} of them); the network answers the same."
        )
    if request.adapt is not None:
        loaded.network = _adapted(loaded.network, request.adapt)
    loaded.network.eval()
    return loaded


def _with_weights(content: Content, checkpoint: Checkpoint, request: NetworkRequest) -> LoadedNetwork:
    if request.network is None and content.network is not None:
        graph = checkpoint.format == "pt2"
        return LoadedNetwork(network=as_network(content.network) if graph else content.network)
    notes: list[str] = []
    if request.network is None:
        network, name = stored_network(content.metadata, content.tensors, checkpoint.path)
        notes.append(f"The checkpoint says that it is {name}.")
    elif isinstance(request.network, NetworkName):
        network = request.network.build()
    else:
        network = _called(request.network, "The function that builds the network")
    notes.extend(load_tensors(network, content.tensors, checkpoint.path))
    return LoadedNetwork(network=network, notes=notes)


def _submodule(network: "nn.Module", path: str) -> "nn.Module":
    current, walked = network, ""
    for name in path.split("."):
        children = dict(current.named_children())
        if name not in children:
            have = ", ".join(list(children)[:20]) or "no sub-modules"
            place = f"{walked!r}" if walked else "The network"
            msg = f"{place} has no sub-module {name!r}; it has: {have}."
            raise BadInputError(msg, next_step="Give a dotted path of those names, such as encoder.layers.")
        current, walked = children[name], f"{walked}.{name}".lstrip(".")
    return current


def _adapted(network: "nn.Module", adapt: "Callable[[nn.Module], nn.Module]") -> "nn.Module":
    return _called(lambda: adapt(network), "The function that adapts the network")


def _called(function: "Callable[[], nn.Module]", what: str) -> "nn.Module":
    from torch import nn

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            found: Any = function()
    except WherryError:
        raise
    except Exception as error:
        place = place_of(error)
        where = f" at {place}" if place else ""
        msg = f"{what} failed{where}: {type(error).__name__}: {first_line(error)}"
        raise BadInputError(msg, next_step="Mend the line that is named; it runs without arguments.") from error
    if not isinstance(found, nn.Module):
        msg = f"{what} gave a {type(found).__name__}, not a torch.nn.Module."
        raise BadInputError(msg, next_step="Return the network itself.")
    return found
