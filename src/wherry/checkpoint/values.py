"""The model of objects that a pickle stream would make: storages, tensors, and the few instances that are allowed."""

import math
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from wherry.checkpoint import allowed
from wherry.checkpoint.findings import damaged, forbidden
from wherry.checkpoint.opcodes import Blob

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


def pairs(items: list[Any]) -> dict[Any, Any]:
    """Return the dict that a list of two-element lists or tuples describes.

    Raises:
        UncleanError: it describes none.
    """
    for item in items:
        if not isinstance(item, list | tuple) or len(item) != 2 or not is_key(item[0]):
            raise forbidden("An OrderedDict is made from something else than pairs.", code="pickle-arguments")
    return {item[0]: item[1] for item in items}


def elements(shape: tuple[Any, ...]) -> int:
    """Return how many elements an array of this shape has.

    Raises:
        UncleanError: it is no shape.
    """
    if not _is_shape(shape):
        raise damaged("An array's shape is not made of sizes.", code="pickle-numpy")
    return math.prod(shape)


def class_of(identity: object) -> Global | None:
    """Return the class in a persistent id `("module", class, file, source)` of the legacy format, if it is one."""
    if not isinstance(identity, tuple) or len(identity) != 4 or identity[0] != "module":
        return None
    kind, file, source = identity[1:]
    texts = all(isinstance(text, str | Blob | type(None)) for text in (file, source))
    return kind if texts and isinstance(kind, Global) and kind.name not in allowed.STORAGES else None


def storage_of(identity: object) -> Storage:
    """Return the storage that a persistent id names: `("storage", class, key, location, elements[, view])`.

    Raises:
        UncleanError: it names anything else.
    """
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise forbidden("A persistent id names something else than a storage of this file.", code="pickle-arguments")
    _, kind, key, location, elements = identity[:5]
    if not isinstance(kind, Global) or kind.name not in allowed.STORAGES:
        raise forbidden("A persistent id names a storage of an unknown class.", code="pickle-arguments")
    if not (isinstance(key, str) and isinstance(location, str)) or not _is_size(elements):
        raise damaged("A persistent id does not name its storage by key, place and size.", code="pickle-arguments")
    if identity[5:] not in ((), (None,)):
        raise forbidden(
            "A storage is a view of another one, as only torch before 0.4 wrote it.", code="pickle-arguments"
        )
    return Storage(key=key, dtype=allowed.STORAGES[kind.name], elements=elements)


def call(name: str, arguments: tuple[Any, ...]) -> Any:
    """Return the model of what `module name` would return.

    Raises:
        UncleanError: the arguments are not those that torch writes.
    """
    if name.startswith("torch._utils "):
        return _rebuilt(name, arguments)
    if name.startswith("collections "):
        return _mapping(arguments)
    if name == "torch Size" and len(arguments) == 1 and _is_shape(arguments[0]):
        return arguments[0]
    if name == "torch device" and len(arguments) in (1, 2) and isinstance(arguments[0], str):
        return ":".join(str(part) for part in arguments if isinstance(part, str | int))
    if name.endswith("_get_layout") and len(arguments) == 1 and arguments[0] in allowed.LAYOUTS:
        return arguments[0]
    return _builtin(name.partition(" ")[2], arguments)


def _rebuilt(name: str, arguments: tuple[Any, ...]) -> Any:
    if name.startswith("torch._utils _rebuild_tensor"):
        return _tensor(name, arguments)
    if name == "torch._utils _rebuild_parameter":
        return _parameter(arguments)
    if name == "torch._utils _rebuild_qtensor":
        return _quantized(arguments)
    return _sparse(arguments) if name.endswith("sparse_tensor") else _without_bytes(arguments)


def _quantized(arguments: tuple[Any, ...]) -> Tensor:
    if len(arguments) != 7 or not isinstance(arguments[4], tuple) or len(arguments[4]) not in (3, 4):
        raise forbidden("A quantized tensor is made of something else than torch writes.", code="pickle-arguments")
    made = _tensor("torch._utils _rebuild_tensor_v2", (*arguments[:4], arguments[5], arguments[6]))
    scheme, *scales = arguments[4]
    if not isinstance(scheme, Global) or scheme.name not in allowed.SCHEMES:
        raise forbidden("A quantized tensor is scaled in an unknown way.", code="pickle-arguments")
    if not all(isinstance(item, Tensor | int | float) for item in scales):
        raise forbidden("A quantized tensor's scales are not numbers.", code="pickle-arguments")
    return made


def _sparse(arguments: tuple[Any, ...]) -> Tensor:
    """Look at `(layout, (indices..., values, size[, coalesced]))`; torch checks the indices when it loads them."""
    if len(arguments) != 2 or arguments[0] not in allowed.LAYOUTS or not isinstance(arguments[1], tuple):
        raise forbidden("A sparse tensor is made of something else than torch writes.", code="pickle-arguments")
    parts = [item for item in arguments[1] if not isinstance(item, bool)]
    tensors, size = parts[:-1], parts[-1] if parts else None
    if not _is_shape(size) or len(tensors) not in (2, 3) or not all(isinstance(item, Tensor) for item in tensors):
        raise forbidden("A sparse tensor is made of something else than tensors.", code="pickle-arguments")
    return Tensor(dtype=tensors[-1].dtype, shape=size)


def _without_bytes(arguments: tuple[Any, ...]) -> Tensor:
    if len(arguments) != 4 or not isinstance(arguments[0], Global) or arguments[0].name not in allowed.DTYPE_GLOBALS:
        raise forbidden("A tensor without bytes is made of something else than torch writes.", code="pickle-arguments")
    if not (_is_shape(arguments[1]) and _is_shape(arguments[2])):
        raise damaged("A tensor's shape, stride or offset is not made of sizes.", code="pickle-arguments")
    return Tensor(dtype=allowed.DTYPE_GLOBALS[arguments[0].name], shape=arguments[1])


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
    raise forbidden(msg, code="pickle-arguments")


def _mapping(arguments: tuple[Any, ...]) -> Instance:
    if not arguments:
        return Instance()
    if len(arguments) == 1 and isinstance(arguments[0], dict):
        return Instance(dict(arguments[0]))
    raise forbidden("An OrderedDict is made from something else than nothing.", code="pickle-arguments")


def _parameter(arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 3 or not isinstance(arguments[0], Tensor) or not isinstance(arguments[2], Instance):
        raise forbidden("A parameter is made from something else than a tensor.", code="pickle-arguments")
    if arguments[2].items:
        raise forbidden("A parameter carries hooks, which are code.", code="pickle-arguments")
    return arguments[0]


def _tensor(name: str, arguments: tuple[Any, ...]) -> Tensor:
    least = 4 if name.endswith("_rebuild_tensor") else 6
    if len(arguments) < least or not isinstance(arguments[0], Storage):
        raise forbidden("A tensor is made from something else than a storage of this file.", code="pickle-arguments")
    storage, offset, shape, stride = arguments[:4]
    if len(arguments) > 5 and not (isinstance(arguments[5], Instance) and not arguments[5].items):
        raise forbidden("A tensor carries hooks, which are code.", code="pickle-arguments")
    if not (_is_size(offset) and _is_shape(shape) and _is_shape(stride) and len(shape) == len(stride)):
        raise damaged("A tensor's shape, stride or offset is not made of sizes.", code="pickle-arguments")
    dtype = storage.dtype
    if name.endswith("_v3"):
        kind = arguments[6] if len(arguments) > 6 else None
        if not isinstance(kind, Global) or kind.name not in allowed.DTYPE_GLOBALS:
            raise forbidden("A tensor names an unknown data type.", code="pickle-arguments")
        dtype = allowed.DTYPE_GLOBALS[kind.name]
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1
    if 0 not in shape and last * allowed.DTYPES[dtype] > storage.size:
        raise damaged("A tensor reaches beyond the end of its storage.", code="pickle-arguments")
    return Tensor(dtype=dtype, shape=shape)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _is_shape(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and len(value) <= MAX_AXES and all(_is_size(item) for item in value)
