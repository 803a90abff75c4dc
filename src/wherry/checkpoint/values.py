"""The model of objects that a pickle stream would make: storages, tensors, and the few instances that are allowed."""

from dataclasses import dataclass, field
from typing import Any

from wherry.checkpoint import allowed
from wherry.checkpoint.findings import damaged, forbidden

MAX_AXES = 64


class Mark:
    """A mark on the stack."""


class Opaque:
    """What came of a forbidden name; already reported, so it is carried along in silence."""


@dataclass(frozen=True, slots=True)
class Global:
    """An allowed name, as `module name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes of the file that hold elements of one type."""

    key: str
    dtype: str
    elements: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.elements * allowed.DTYPES[self.dtype]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor over a storage."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(slots=True)
class Instance:
    """An `OrderedDict` or a `Counter`."""

    items: dict[Any, Any] = field(default_factory=dict)


def is_key(value: object) -> bool:
    """Return whether `value` may be a dict's key: a plain value, or a flat tuple of a few (hashing it stays cheap)."""
    plain = (str, int, float, bytes, bool, type(None))
    if isinstance(value, tuple):
        return len(value) <= MAX_AXES and all(isinstance(item, plain) for item in value)
    return isinstance(value, plain)


def storage_of(identity: object) -> Storage:
    """Return the storage that a persistent id names: `("storage", class, key, location, elements[, view])`.

    Raises:
        UncleanError: it names anything else.
    """
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise forbidden("A persistent id names something else than a storage of this file.")
    _, kind, key, location, elements = identity[:5]
    if not isinstance(kind, Global) or kind.name not in allowed.STORAGES:
        raise forbidden("A persistent id names a storage of an unknown class.")
    if not (isinstance(key, str) and isinstance(location, str)) or not _is_size(elements):
        raise damaged("A persistent id does not name its storage by key, place and size.")
    if identity[5:] not in ((), (None,)):
        raise forbidden("A storage is a view of another one, as only torch before 0.4 wrote it.")
    return Storage(key=key, dtype=allowed.STORAGES[kind.name], elements=elements)


def call(name: str, arguments: tuple[Any, ...]) -> Any:
    """Return the model of what `module name` would return.

    Raises:
        UncleanError: the arguments are not those that torch writes.
    """
    if name.startswith("torch._utils _rebuild_tensor"):
        return _tensor(name, arguments)
    if name == "torch._utils _rebuild_parameter":
        return _parameter(arguments)
    if name.startswith("collections "):
        return _mapping(arguments)
    if name == "torch Size" and len(arguments) == 1 and _is_shape(arguments[0]):
        return arguments[0]
    if name == "torch device" and len(arguments) in (1, 2) and isinstance(arguments[0], str):
        return ":".join(str(part) for part in arguments if isinstance(part, str | int))
    return _builtin(name.partition(" ")[2], arguments)


def _builtin(name: str, arguments: tuple[Any, ...]) -> Any:
    if name == "encode" and len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] == "latin1":
        return arguments[0].encode("latin1", "replace")
    if name == "set" and len(arguments) == 1 and isinstance(arguments[0], list) and all(map(is_key, arguments[0])):
        return set(arguments[0])
    if name == "complex" and len(arguments) == 2 and all(isinstance(part, float) for part in arguments):
        return complex(*arguments)
    if name == "bytearray" and len(arguments) == 1 and isinstance(arguments[0], bytes):
        return bytearray(arguments[0])
    msg = f"It calls {name} with arguments that torch does not write."
    raise forbidden(msg)


def _mapping(arguments: tuple[Any, ...]) -> Instance:
    if not arguments:
        return Instance()
    if len(arguments) == 1 and isinstance(arguments[0], dict):
        return Instance(dict(arguments[0]))
    raise forbidden("An OrderedDict is made from something else than nothing.")


def _parameter(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 3 or not isinstance(arguments[0], Tensor) or not isinstance(arguments[2], Instance):
        raise forbidden("A parameter is made from something else than a tensor.")
    if arguments[2].items:
        raise forbidden("A parameter carries hooks, which are code.")
    return arguments[0]


def _tensor(name: str, arguments: tuple[Any, ...]) -> Tensor:
    least = 4 if name.endswith("_rebuild_tensor") else 6
    if len(arguments) < least or not isinstance(arguments[0], Storage):
        raise forbidden("A tensor is made from something else than a storage of this file.")
    storage, offset, shape, stride = arguments[:4]
    if len(arguments) > 5 and not (isinstance(arguments[5], Instance) and not arguments[5].items):
        raise forbidden("A tensor carries hooks, which are code.")
    if not (_is_size(offset) and _is_shape(shape) and _is_shape(stride) and len(shape) == len(stride)):
        raise damaged("A tensor's shape, stride or offset is not made of sizes.")
    dtype = storage.dtype
    if name.endswith("_v3"):
        kind = arguments[6] if len(arguments) > 6 else None
        if not isinstance(kind, Global) or kind.name not in allowed.DTYPE_GLOBALS:
            raise forbidden("A tensor names an unknown data type.")
        dtype = allowed.DTYPE_GLOBALS[kind.name]
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1
    if 0 not in shape and last * allowed.DTYPES[dtype] > storage.size:
        raise damaged("A tensor reaches beyond the end of its storage.")
    return Tensor(dtype=dtype, shape=shape)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _is_shape(value: object) -> bool:
    return isinstance(value, tuple) and len(value) <= MAX_AXES and all(_is_size(item) for item in value)
