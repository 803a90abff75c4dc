"""What is served: the files of one variant, and what proves them."""

from dataclasses import dataclass
from pathlib import Path

from wherry.core.device import DeviceType
from wherry.core.errors import BadInputError
from wherry.core.model import ModelSpec, check_name
from wherry.core.variant import Variant

# `GET /v2/models/stats` is an address of the protocol, so no model can have this name.
_RESERVED = frozenset({"stats"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One version of one model as it lies on this machine.

    Raises:
        BadInputError: the name cannot stand in an address, the version is not positive, or a golden set is given
            without the digest and the variant that its proof needs.
    """

    name: str
    version: int
    spec: ModelSpec
    engine: str
    """Member of the engine family that runs it, such as `onnxruntime`."""
    main: Path
    """Main file of the variant; its other files lie beside it."""
    batch: int | None = None
    """Fixed batch size of the variant, or None for a dynamic one."""
    device: DeviceType = "cpu"
    golden: Path | None = None
    """Golden set that must pass before the model takes traffic; without it one dummy batch is run."""
    golden_sha256: str | None = None
    variant: Variant | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "the name of a served model")
        if self.name in _RESERVED:
            msg = f"A model cannot be served under the name {self.name!r}, because the protocol uses it as an address."
            raise BadInputError(msg, next_step="Serve it under another name.")
        if self.version < 1:
            msg = f"{self.name} cannot be served as version {self.version}: versions start at 1."
            raise BadInputError(msg)
        if self.golden is not None and (self.golden_sha256 is None or self.variant is None):
            msg = f"The golden set of {self.title} was given without its digest or without the variant that it proves."
            raise BadInputError(msg)

    @property
    def title(self) -> str:
        """`NAME@v2`, for people."""
        return f"{self.name}@v{self.version}"
