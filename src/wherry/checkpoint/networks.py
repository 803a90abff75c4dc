"""Networks by name: `timm:efficientnet_b0`, `torchvision:resnet50`, `smp:Unet?encoder_name=resnet34&classes=5`.

The table says which libraries may be named, and for each which arguments; a name never leads to an import, a download
or a file. That is why such a name may also be read out of a checkpoint, where an import string would be code execution.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from wherry.core.errors import BadInputError, NotFoundError, ToolchainMissingError, UsageError
from wherry.runtime.installed import installed_version

if TYPE_CHECKING:
    from torch import nn

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,99}")
_TEXT = re.compile(r"[A-Za-z0-9_.,-]{0,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkName:
    """A library of the table, a network of that library, and plain arguments."""

    library: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "NetworkName":
        """Read `LIBRARY:NAME` or `LIBRARY:NAME?argument=value&argument=value`; values are JSON or plain text.

        Raises:
            UsageError: it is not of that form.
            NotFoundError: the library is not in the table.
        """
        library, _, rest = text.partition(":")
        name, _, query = rest.partition("?")
        _library(library)
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        except ValueError as error:
            msg = f"{text!r} does not name a network: {error}."
            raise UsageError(msg, next_step=_FORM) from error
        return cls(library=library, name=name, arguments={key: _value(value) for key, value in pairs})

    @property
    def classes(self) -> int | None:
        """How many classes the arguments ask for, or None."""
        given = self.arguments.get(_library(self.library).classes)
        return given if isinstance(given, int) else None

    def with_classes(self, classes: int | None) -> "NetworkName":
        """Return the same with a number of classes, under the library's word for it, unless it has one already."""
        if classes is None or self.classes is not None:
            return self
        arguments = {**self.arguments, _library(self.library).classes: classes}
        return NetworkName(library=self.library, name=self.name, arguments=arguments)

    def build(self) -> "nn.Module":
        """Return the network with random weights; nothing is downloaded.

        Raises:
            NotFoundError: the library has no such network.
            BadInputError: an argument is not one of the table's, or the library refuses it.
            ToolchainMissingError: the library is not installed.
        """
        library = _library(self.library)
        if installed_version(library.module, (library.distribution,)) is None:
            msg = f"{self} needs {library.distribution}, which is not installed."
            raise ToolchainMissingError(msg, next_step=f"Run: pip install {library.distribution}")
        for key, value in self.arguments.items():
            if key not in library.arguments:
                msg = f"{self.library}:{self.name} takes no argument {key!r} here."
                raise BadInputError(msg, next_step=f"It takes: {', '.join(sorted(library.arguments))}.")
            if not _is_plain(value):
                msg = f"The argument {key!r} of {self.library}:{self.name} is not a number, a word or a list of them."
                raise BadInputError(msg)
        try:
            found = library.build(self.name, self.arguments) if _NAME.fullmatch(self.name) else None
        except (TypeError, ValueError, KeyError, AssertionError, RuntimeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            msg = f"{self} cannot be built: {reason}"
            raise BadInputError(msg, next_step="Mend the name's arguments.") from error
        if found is None:
            msg = f"{library.distribution} has no network {self.name!r}."
            raise NotFoundError(msg, next_step=library.listing)
        return found

    def __str__(self) -> str:
        """Return the form that `parse` reads."""
        query = "&".join(f"{key}={_written(value)}" for key, value in self.arguments.items())
        return f"{self.library}:{self.name}{'?' if query else ''}{query}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Library:
    module: str
    distribution: str
    classes: str
    """The library's word for the number of classes."""
    arguments: frozenset[str]
    build: Callable[[str, Mapping[str, Any]], "nn.Module | None"]
    """Returns None when the library has no network of that name."""
    listing: str
    """How to see which networks there are."""


def is_network_name(text: str) -> bool:
    """Return whether `text` begins with a library of the table, and so is no import string."""
    return text.partition(":")[0] in LIBRARIES


def _library(name: str) -> _Library:
    found = LIBRARIES.get(name)
    if found is None:
        msg = f"{name!r} is no library that networks are built from."
        raise NotFoundError(msg, next_step=f"Use one of {', '.join(LIBRARIES)}, or package.module:function.")
    return found


def _timm(name: str, arguments: Mapping[str, Any]) -> "nn.Module | None":
    import timm

    if not timm.is_model(name):  # `hf-hub:` and `local-dir:` are no models, and are never followed
        return None
    built: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    return built


def _torchvision(name: str, arguments: Mapping[str, Any]) -> "nn.Module | None":
    from torchvision import models

    if name not in models.list_models():
        return None
    takes = inspect.signature(models.get_model_builder(name)).parameters
    backbone = {"weights_backbone": None} if "weights_backbone" in takes else {}
    built: nn.Module = models.get_model(name, weights=None, **backbone, **arguments)
    return built


def _smp(name: str, arguments: Mapping[str, Any]) -> "nn.Module | None":
    import segmentation_models_pytorch as smp

    if name not in _SMP:
        return None
    built: nn.Module = getattr(smp, name)(encoder_weights=None, **arguments)
    return built


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= 64 and all(_is_plain(item) and not isinstance(item, list | tuple) for item in value)
    if isinstance(value, str):
        return _TEXT.fullmatch(value) is not None  # no colon and no slash: no address, no path
    return value is None or isinstance(value, bool | int | float)


_FORM = "Write LIBRARY:NAME or LIBRARY:NAME?argument=value&argument=value."
_SMP = frozenset(
    {
        "Unet",
        "UnetPlusPlus",
        "MAnet",
        "Linknet",
        "FPN",
        "PSPNet",
        "PAN",
        "DeepLabV3",
        "DeepLabV3Plus",
        "UPerNet",
        "Segformer",
        "DPT",
    }
)
LIBRARIES: dict[str, _Library] = {
    "timm": _Library(
        module="timm",
        distribution="timm",
        classes="num_classes",
        arguments=frozenset({"num_classes", "in_chans", "img_size", "global_pool", "drop_rate", "drop_path_rate"}),
        build=_timm,
        listing="See timm.list_models().",
    ),
    "torchvision": _Library(
        module="torchvision",
        distribution="torchvision",
        classes="num_classes",
        arguments=frozenset({"num_classes", "aux_loss", "aux_logits", "transform_input", "dropout", "init_weights"}),
        build=_torchvision,
        listing="See torchvision.models.list_models().",
    ),
    "smp": _Library(
        module="segmentation_models_pytorch",
        distribution="segmentation-models-pytorch",
        classes="classes",
        arguments=frozenset(
            {
                "classes",
                "in_channels",
                "encoder_name",
                "encoder_depth",
                "encoder_output_stride",
                "decoder_channels",
                "decoder_atrous_rates",
                "decoder_attention_type",
                "decoder_pyramid_channels",
                "decoder_segmentation_channels",
                "decoder_dropout",
                "decoder_merge_policy",
                "upsampling",
            }
        ),
        build=_smp,
        listing=f"It has: {', '.join(sorted(_SMP))}.",
    ),
}
"""By the prefix of a name. Arguments that would fetch weights or open files are left out on purpose."""
