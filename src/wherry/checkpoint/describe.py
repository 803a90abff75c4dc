"""A model spec from a few words and one run of the network: what it gives is looked at, not typed in.

Outputs are named by the conventions of the task; a network that names its outputs itself keeps those names.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from wherry.checkpoint.examples import example_inputs
from wherry.checkpoint.forward import is_graph
from wherry.core.errors import BadInputError, SpecMismatchError
from wherry.core.model import ModelSpec, Preprocessing, TensorSpec

if TYPE_CHECKING:
    from torch import nn

Preset = Literal["imagenet", "yolo", "none"]
OUTPUT_NAMES: dict[str, tuple[str, ...]] = {
    "classification": ("logits",),
    "segmentation": ("logits",),
    "detection": ("boxes", "scores", "coefficients", "prototypes"),
    "policy_value": ("policy", "value"),
    "embedding": ("embedding",),
}
"""Names of a task's outputs, by their order."""
# Mean and standard deviation of ImageNet's training images on the scale 0 to 1, as torchvision and timm use them.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_PRESETS: dict[str, Preprocessing] = {
    "imagenet": Preprocessing(kind="image", scale=1 / 255, mean=IMAGENET[0], std=IMAGENET[1]),
    "yolo": Preprocessing(kind="image", scale=1 / 255, fit="letterbox", pad=114),
    "none": Preprocessing(kind="image"),
}
_BATCH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What has to be said of a network, beside what can be seen by running it."""

    task: str
    input_size: tuple[int, int] | None = None
    """Height and width of an image in pixels."""
    input_shape: tuple[int, ...] | None = None
    """Shape of one example without the batch, for inputs that are no images."""
    channels: Literal[1, 3] = 3
    """Of an image: 3 for RGB, 1 for grey."""
    preset: Preset = "none"
    """`imagenet` and `yolo` are how those networks were trained; `none` gives the network pixels of 0 to 255."""
    mean: tuple[float, ...] = ()
    """By channel on the scale 0 to 1; in place of the preset's."""
    std: tuple[float, ...] = ()
    classes: int | None = None
    class_names: tuple[str, ...] = ()


def draft_spec(description: Description) -> ModelSpec:
    """Return a spec whose inputs and preprocessing are known, and whose outputs are not yet.

    Raises:
        BadInputError: neither or both of size and shape are given, or numbers of channels differ.
    """
    if (description.input_size is None) == (description.input_shape is None):
        msg = "Either the size of an image or the shape of the input is needed, and not both."
        raise BadInputError(msg, next_step="Give --input-size 224 for images, or --input-shape 100,9 for other inputs.")
    if description.classes and description.class_names and description.classes != len(description.class_names):
        msg = f"{description.classes} classes are given with {len(description.class_names)} names."
        raise BadInputError(msg, next_step="Give one name for each class.")
    preprocessing, shape = Preprocessing(), description.input_shape or ()
    if description.input_size is not None:
        preprocessing = _image(description, description.input_size)
        shape = (description.channels, *description.input_size)
    return ModelSpec(
        task=description.task,
        inputs=(TensorSpec(name="input", dtype="float32", shape=("batch", *shape)),),
        outputs=(),
        preprocessing=preprocessing,
        class_names=description.class_names,
    )


def complete_spec(network: "nn.Module", description: Description) -> ModelSpec:
    """Return the spec with the input's name from the network's `forward`, and outputs as one run of it gives them.

    Args:
        network: in evaluation mode, with its weights.
        description: what was said of it.

    Raises:
        SpecMismatchError: the network refuses the input, gives other things than tensors, or other classes than said.
    """
    import torch

    draft = draft_spec(description)
    draft = replace(draft, inputs=(replace(draft.inputs[0], name=_input_name(network)),))
    inputs = example_inputs(draft, batch=_BATCH, axes={}, seed=0)
    try:
        with torch.no_grad():
            value = network(*inputs.values())
    except Exception as error:
        shape = list(draft.inputs[0].shape[1:])
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        msg = f"The network refuses an input of {shape}: {reason}"
        raise SpecMismatchError(msg, next_step="Give the size that the network was trained with.") from error
    found = [
        (name, str(item.dtype).removeprefix("torch."), tuple(item.shape))
        for name, item in _tensors(description.task, value)
    ]
    return with_outputs(draft, description, found, _BATCH)


def with_outputs(
    draft: ModelSpec, description: Description, found: Sequence[tuple[str, str, tuple[int, ...]]], batch: int
) -> ModelSpec:
    """Return `draft` with outputs as they were seen.

    Args:
        draft: with the inputs.
        description: what was said of the network.
        found: name, data type and shape of each output.
        batch: how many examples the network was given; outputs of that length have the batch as their first axis.

    Raises:
        SpecMismatchError: the network gives another number of classes than was said.
    """
    first = draft.inputs[0].shape[0]
    outputs = tuple(
        TensorSpec(name=name, dtype=dtype, shape=(first, *shape[1:]) if shape[:1] == (batch,) else shape)
        for name, dtype, shape in found
    )
    _check_classes(description, outputs)
    return replace(draft, outputs=outputs, postprocessing=_postprocessing(description.task, outputs))


def _image(description: Description, size: tuple[int, int]) -> Preprocessing:
    found = replace(_PRESETS[description.preset], size=size)
    if description.channels == 1:
        found = replace(found, color="L")
    if description.mean or description.std:
        found = replace(found, scale=1 / 255, mean=description.mean or found.mean, std=description.std or found.std)
    wrong = [len(values) for values in (found.mean, found.std) if len(values) not in (1, description.channels)]
    if wrong:
        msg = f"The image has {description.channels} channels, and its mean or deviation has {wrong[0]}."
        raise BadInputError(msg, next_step="Give one number for each channel, or one for all.")
    return found


def _input_name(network: "nn.Module") -> str:
    if is_graph(network):
        return "input"
    parameters = inspect.signature(network.forward).parameters.values()
    names = [it.name for it in parameters if it.kind is it.POSITIONAL_OR_KEYWORD]
    return names[0] if names else "input"


def _tensors(task: str, value: Any) -> list[tuple[str, Any]]:
    """Return what a network gave, by name; names are its own, or those of the task."""
    import torch

    if isinstance(value, Mapping):
        named = [(str(name), item) for name, item in value.items()]
    else:
        items = [value] if isinstance(value, torch.Tensor) else list(value) if isinstance(value, list | tuple) else []
        known = OUTPUT_NAMES.get(task, ())
        named = [(known[i] if i < len(known) else f"output_{i + 1}", item) for i, item in enumerate(items)]
    strange = [(name, item) for name, item in named if not isinstance(item, torch.Tensor)]
    if strange or not named:
        what = f"a {type(strange[0][1]).__name__} as {strange[0][0]!r}" if strange else f"a {type(value).__name__}"
        msg = f"The network gives {what}, and only tensors can be captured."
        raise SpecMismatchError(msg, next_step="Let it return tensors: --adapt package.module:function.")
    return named


def _check_classes(description: Description, outputs: tuple[TensorSpec, ...]) -> None:
    said = description.classes or len(description.class_names)
    place = {"classification": 0, "segmentation": 0, "detection": 1}.get(description.task)
    if not said or place is None or place >= len(outputs) or len(outputs[place].shape) < 2:
        return
    given = outputs[place].shape[1]
    if given != said:
        msg = f"The network gives {given} classes in {outputs[place].name!r}, and {said} were named."
        raise SpecMismatchError(msg, next_step="Name the classes that the network was trained with.")


def _postprocessing(task: str, outputs: tuple[TensorSpec, ...]) -> Literal["none", "softmax", "sigmoid", "nms"]:
    if task == "detection":
        return "nms"
    if task == "segmentation" and outputs[0].shape[1:2] == (1,):
        return "sigmoid"
    return "softmax" if task in ("classification", "segmentation") else "none"
