"""From a checkpoint to a program: what training left becomes one file without code, and a spec that holds for it."""

from dataclasses import dataclass
from pathlib import Path

from wherry.checkpoint import onnx_program
from wherry.checkpoint.capture import capture
from wherry.checkpoint.describe import Description, complete_spec, draft_spec
from wherry.checkpoint.detector import joined_classes, split_detector
from wherry.checkpoint.interface import Checkpoint
from wherry.checkpoint.network import LoadedNetwork, NetworkRequest, load_network
from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeProgram:
    """A program on disk, and what is known of it."""

    path: Path
    """`program.pt2`, or `program.onnx` when an ONNX file is the program itself."""
    spec: ModelSpec
    architecture: str
    """Digest of its structure without its weights."""
    tools: dict[str, str]
    """Name and version of what wrote it."""
    engine: str
    """Member of the engine family that runs it."""
    notes: tuple[str, ...] = ()
    """One sentence for each thing that is not as it stood in the checkpoint."""


def make_program(
    checkpoint: Checkpoint, request: NetworkRequest, spec: ModelSpec | Description, folder: Path
) -> MadeProgram:
    """Load the network of a checkpoint and capture it into `folder`.

    Raises:
        CheckpointError: the weights do not fit or are not finite, or torch cannot capture the network.
        BadInputError: the factory or the adapter fails, or there is no such sub-module.
        SpecMismatchError: the network does not do what the spec says.
        StorageError: the file cannot be written.
    """
    if checkpoint.format == "onnx":
        return _from_onnx(checkpoint, request, spec, folder / "program.onnx")
    draft = draft_spec(spec) if isinstance(spec, Description) else spec
    loaded = load_network(checkpoint, request, draft)
    if request.adapt is None:
        _split(loaded, draft, spec)
    whole = complete_spec(loaded.network, spec) if isinstance(spec, Description) else spec
    program = capture(loaded.network, whole, folder / "program.pt2")
    return MadeProgram(
        path=program.path,
        spec=whole,
        architecture=program.architecture,
        tools=program.tools,
        engine="torch",
        notes=tuple(loaded.notes),
    )


def _split(loaded: LoadedNetwork, draft: ModelSpec, said: ModelSpec | Description) -> None:
    """Split a detector's joined answer, unless the spec wants it as it is."""
    if isinstance(said, ModelSpec) and len(said.outputs) not in (2, 4):
        return
    classes = joined_classes(loaded.network, draft, said.classes if isinstance(said, Description) else None)
    if classes is not None:
        loaded.network = split_detector(loaded.network, classes)
        loaded.notes.append(f"The detector's joined answer was split into boxes and the scores of {classes} classes.")


def _from_onnx(
    checkpoint: Checkpoint, request: NetworkRequest, spec: ModelSpec | Description, path: Path
) -> MadeProgram:
    if request != NetworkRequest():
        msg = "An ONNX file is captured already: it takes no network, no sub-module and no adapter."
        raise BadInputError(msg, next_step="Leave them out, or register the PyTorch checkpoint.")
    model = onnx_program.check_graph(checkpoint.path)
    whole = onnx_program.spec_of(model, checkpoint.path, spec) if isinstance(spec, Description) else spec
    return MadeProgram(
        architecture=onnx_program.adopt(model, checkpoint.path, whole, path),
        path=path,
        spec=whole,
        tools=onnx_program.tools(),
        engine=onnx_program.ENGINE,
        notes=("The ONNX file is the program itself, and ONNX Runtime gave the reference answers.",),
    )
