"""The model of what whole networks and estimators are pickled as: objects with a state, arrays, and a few makers.

Only the tier `modules` reaches this file. Each maker that a stream may call is in one table with the rule for its
arguments; an object is made without arguments, and its state is a plain dict with no name that Python itself uses.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wherry.checkpoint import allowed_modules
from wherry.checkpoint.findings import forbidden
from wherry.checkpoint.opcodes import Blob
from wherry.checkpoint.values import Global, Instance, Opaque, Tensor, call

_DTYPE = re.compile(r"[|<>=]?([?bBhHiIlLqQefdgFDGSUVOMmcu])([0-9]{0,9})")
_SCRIPT = re.compile(
    r"__torch__[\w.]* \w+|torch\.jit\._pickle (restore_type_tag|build_(intlist|tensorlist|doublelist|boollist))"
)
_HOOKS = re.compile(r"_?\w*hooks\w*")
_PLAIN = (str, int, float, bytes, bool, complex, type(None), Blob)
_GENERATORS = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})


@dataclass(slots=True, eq=False)
class Object:
    """An instance of a class on the list."""

    name: str
    state: dict[Any, Any] = field(default_factory=dict)
    items: dict[Any, Any] = field(default_factory=dict)
    native: bool = False
    """Whether it is made and filled by compiled code, which takes a state of any shape."""

    def build(self, state: Any) -> None:
        """Take a state.

        Raises:
            UncleanError: it would set more than plain attributes.
        """
        if self.native:
            _check_native(state)
            return
        if isinstance(state, tuple) and len(state) == 2 and state[1] is None:
            state = state[0]
        if state is None:
            return
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise forbidden("It gives an object a state that is not a plain dict.", code="pickle-state")
        check_attributes(state)
        self.state = state

    def check(self) -> None:
        """Look again when the stream is at its end, because a dict can be filled after it was given away.

        Raises:
            UncleanError: a hook is code of the file's choice.
        """
        check_attributes(self.state)
        for key, value in self.state.items():
            if _HOOKS.fullmatch(key) and not _harmless_hooks(value):
                msg = f"An object carries hooks ({key}), which are code."
                raise forbidden(msg, code="pickle-hooks")


class Value:
    """A path, a date, a loss without a state: complete as soon as it is made."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Dtype:
    """A numpy data type."""

    size: int
    """Bytes of one element; 0 where it is not known."""
    objects: bool = False
    """Whether its elements are Python objects."""

    def build(self, state: Any) -> None:
        """Take byte order, fields and sizes: `(3, order, base, names, fields, size, alignment, flags[, metadata])`."""
        if not isinstance(state, tuple) or len(state) not in (8, 9):
            raise forbidden("A data type of numpy has a state that numpy does not write.", code="pickle-numpy")
        base, fields = state[2], state[4]
        inner = [base[0]] if isinstance(base, tuple) and base else []
        if isinstance(fields, dict):
            inner += [entry[0] if isinstance(entry, tuple) and entry else entry for entry in fields.values()]
        elif fields is not None or not (base is None or inner):
            raise forbidden("A data type of numpy has fields that are not a table.", code="pickle-numpy")
        if not all(isinstance(item, Dtype) for item in inner):
            raise forbidden("A data type of numpy is made of something else than data types.", code="pickle-numpy")
        self.objects = self.objects or any(item.objects for item in inner)


@dataclass(slots=True, eq=False)
class Array:
    """A numpy array."""

    def build(self, state: Any) -> None:
        """Take `(version, shape, dtype, order, bytes or list)`."""
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], Dtype):
            raise forbidden("An array of numpy has a state that numpy does not write.", code="pickle-numpy")
        _check_elements(state[2], state[4])


@dataclass(slots=True, eq=False)
class Partial:
    """A `functools.partial` of something on the list."""

    def build(self, state: Any) -> None:
        """Take `(function, arguments, keywords, attributes)`."""
        if not isinstance(state, tuple) or len(state) != 4 or not is_named(state[0]) or state[3] not in (None, {}):
            raise forbidden("A partial function has a state that Python does not write.", code="pickle-state")


def is_known(name: str) -> bool:
    """Return whether the longer list holds `module name` in any of its tables."""
    return (
        name in _MAKERS
        or name in allowed_modules.classes()
        or name in allowed_modules.functions()
        or name in allowed_modules.compiled()
        or name in allowed_modules.literals()
        or name in _ENUMS
        or name in OTHER_NAMES
    )


def is_script(name: str) -> bool:
    """Return whether `module name` is a class of a TorchScript program, or what its reader makes lists with."""
    return bool(_SCRIPT.fullmatch(name))


def is_named(value: object) -> bool:
    """Return whether `value` is a class or a function that may be given away as a value."""
    return isinstance(value, Global) and (
        value.name in allowed_modules.functions() or value.name in allowed_modules.classes()
    )


def make(name: str, arguments: tuple[Any, ...]) -> Any:
    """Return the model of what NEWOBJ makes of a class on the list.

    Raises:
        UncleanError: it is no class, or it is given arguments.
    """
    if name not in allowed_modules.classes() or arguments:
        raise forbidden("It makes an object of a class with arguments, which runs its code.", code="pickle-call")
    return Object(name)


def invoke(name: str, arguments: tuple[Any, ...]) -> Any:
    """Return the model of what a call of a maker would return.

    Raises:
        UncleanError: it is no maker, or the arguments are not those that its library writes.
    """
    if name in allowed_modules.ARGLESS and not arguments:
        return Object(name)
    if name in _ENUMS and len(arguments) == 1 and isinstance(arguments[0], str | int):
        return Value()
    maker = _literal if name in allowed_modules.literals() else _MAKERS.get(name)
    if maker is None:
        msg = f"It calls {name.replace(' ', '.')}, which may only be named."
        raise forbidden(msg, code="pickle-call")
    made = maker(name, arguments)
    if made is None:
        msg = f"It calls {name.replace(' ', '.')} with arguments that its library does not write."
        raise forbidden(msg, code="pickle-arguments")
    return made


def check_attributes(state: dict[Any, Any]) -> None:
    """Check the names of attributes.

    Raises:
        UncleanError: one is no identifier, or one that Python itself uses.
    """
    for key in state:
        if not isinstance(key, str) or (key.startswith("__") and key.endswith("__")):
            msg = f"It sets the attribute {str(key)[:40]!r} of an object, which Python itself uses."
            raise forbidden(msg, code="pickle-state")


def _check_native(state: Any) -> None:
    """Check that a state for compiled code is not one that Python would set attribute by attribute."""
    tables = [state, *state] if isinstance(state, tuple) and len(state) == 2 else [state]
    for table in tables:
        if isinstance(table, dict):
            check_attributes(table)
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):
        raise forbidden("It sets the attributes of an object in machine code.", code="pickle-state")


def _harmless_hooks(value: object) -> bool:
    if isinstance(value, Object):
        return value.name not in allowed_modules.MAPPINGS
    table = value.items if isinstance(value, Instance) else value
    if not isinstance(table, dict):
        return isinstance(value, _PLAIN)
    return all(
        isinstance(hook, bool | Opaque) or (isinstance(hook, Object) and hook.name in allowed_modules.hooks())
        for hook in table.values()
    )


def _check_elements(dtype: Dtype, data: object) -> None:
    fits = isinstance(data, list) if dtype.objects else isinstance(data, bytes | bytearray | Blob | str)
    if not fits:
        raise forbidden("An array of numpy does not hold what its data type says.", code="pickle-numpy")


def _dtype(_name: str, arguments: tuple[Any, ...]) -> Any:
    found = _DTYPE.fullmatch(arguments[0]) if arguments and isinstance(arguments[0], str) else None
    if found is None or not all(isinstance(item, bool | int) for item in arguments[1:]):
        return None
    size = int(found[2] or 0)
    return Dtype(4 * size if found[1] == "U" else size or _SIZES.get(found[1], 0), objects=found[1] == "O")


_SIZES = {"?": 1, "b": 1, "B": 1, "c": 1, "e": 2, "h": 2, "H": 2, "f": 4, "i": 4, "I": 4, "d": 8, "q": 8, "Q": 8}


def _reconstruct(_name: str, arguments: tuple[Any, ...]) -> Any:
    fits = len(arguments) == 3 and isinstance(arguments[0], Global) and arguments[0].name == "numpy ndarray"
    return Array() if fits and arguments[1] == (0,) and isinstance(arguments[2], bytes | str) else None


def _scalar(_name: str, arguments: tuple[Any, ...]) -> Any:
    fits = len(arguments) == 2 and isinstance(arguments[0], Dtype) and not arguments[0].objects
    return 0 if fits and isinstance(arguments[1], bytes | str) else None


def _frombuffer(_name: str, arguments: tuple[Any, ...]) -> Any:
    fits = len(arguments) >= 3 and isinstance(arguments[1], Dtype) and not arguments[1].objects
    return Array() if fits and isinstance(arguments[0], bytes | bytearray | Blob) else None


def _reconstructor(_name: str, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 3 or not isinstance(arguments[0], Global) or not isinstance(arguments[1], Global):
        return None
    plain = arguments[1].name in ("builtins object", "__builtin__ object") and arguments[2] is None
    return make(arguments[0].name, ()) if plain else None


def _literal(_name: str, arguments: tuple[Any, ...]) -> Any:
    fits = all(isinstance(item, (*_PLAIN, Value)) or _is_flat(item) for item in arguments)
    return Value() if fits else None


def _empty_bytes(_name: str, arguments: tuple[Any, ...]) -> Any:
    return None if arguments else b""


def _is_flat(value: object) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(item, _PLAIN) for item in value)


def _defaults(name: str, arguments: tuple[Any, ...]) -> Any:
    plain = not arguments or (
        len(arguments) == 1
        and (arguments[0] is None or (isinstance(arguments[0], Global) and "builtin" in arguments[0].name))
    )
    return Object(name) if plain else None


def _partial(_name: str, arguments: tuple[Any, ...]) -> Any:
    return Partial() if len(arguments) == 1 and is_named(arguments[0]) else None


def _own_class(name: str, arguments: tuple[Any, ...]) -> Any:
    kind = arguments[0] if arguments else None
    fits = isinstance(kind, Global) and kind.name in allowed_modules.compiled()
    rest = all(isinstance(item, int | str | type(None)) for item in arguments[1:])
    same = fits and kind is not None and kind.name.partition(" ")[0] == name.partition(" ")[0]
    return Object(kind.name, native=True) if kind is not None and same and rest else None


def _generator(name: str, arguments: tuple[Any, ...]) -> Any:
    def fits(item: object) -> bool:
        if isinstance(item, Global):
            return item.name == "numpy.random._pickle __bit_generator_ctor" or (
                item.name in allowed_modules.compiled() and item.name.startswith("numpy.random.")
            )
        return item in _GENERATORS if isinstance(item, str) else isinstance(item, Object) and item.native

    return Object(name, native=True) if arguments and all(map(fits, arguments)) else None


def _tree(name: str, arguments: tuple[Any, ...]) -> Any:
    fits = len(arguments) == 3 and isinstance(arguments[1], Array)
    return Object(name, native=True) if fits else None


def _frozenset(_name: str, arguments: tuple[Any, ...]) -> Any:
    return frozenset() if len(arguments) == 1 and _is_flat(arguments[0]) else None


def _from_type(_name: str, arguments: tuple[Any, ...]) -> Any:
    """`_rebuild_from_type_v2(function, type, arguments, state)`: a tensor with attributes."""
    if len(arguments) != 4 or not all(isinstance(item, Global) for item in arguments[:2]):
        return None
    function, kind, inner, state = arguments
    if kind.name not in _TENSOR_TYPES or not function.name.startswith("torch._utils _rebuild_"):
        return None
    return _with_attributes(call(function.name, inner) if isinstance(inner, tuple) else None, state)


def _parameter_with_state(_name: str, arguments: tuple[Any, ...]) -> Any:
    if len(arguments) != 4:
        return None
    return _with_attributes(call("torch._utils _rebuild_parameter", arguments[:3]), arguments[3])


def _with_attributes(tensor: object, state: object) -> Any:
    if isinstance(state, tuple) and len(state) == 2 and state[1] is None:
        state = state[0]
    if not isinstance(tensor, Tensor) or not isinstance(state, dict):
        return None
    check_attributes(state)
    return tensor


_TENSOR_TYPES = frozenset({"torch.nn.parameter Parameter", "torch.nn.parameter Buffer", "torch Tensor"})

_ENUMS = frozenset(
    {
        "torchvision.transforms.functional InterpolationMode",
        "timm.layers.format Format",
        "lightning.pytorch.trainer.states TrainerFn",
        "pytorch_lightning.trainer.states TrainerFn",
    }
)

_MAKERS: dict[str, Callable[[str, tuple[Any, ...]], Any]] = {
    "copyreg _reconstructor": _reconstructor,
    "copy_reg _reconstructor": _reconstructor,
    "functools partial": _partial,
    "collections defaultdict": _defaults,
    "__builtin__ bytes": _empty_bytes,
    "builtins bytes": _empty_bytes,
    "builtins frozenset": _frozenset,
    "__builtin__ frozenset": _frozenset,
    "torch._tensor _rebuild_from_type_v2": _from_type,
    "torch._utils _rebuild_parameter_with_state": _parameter_with_state,
    "numpy dtype": _dtype,
    "numpy.core.multiarray _reconstruct": _reconstruct,
    "numpy._core.multiarray _reconstruct": _reconstruct,
    "numpy.core.multiarray scalar": _scalar,
    "numpy._core.multiarray scalar": _scalar,
    "numpy.core.numeric _frombuffer": _frombuffer,
    "numpy._core.numeric _frombuffer": _frombuffer,
    "numpy.random._pickle __bit_generator_ctor": _generator,
    "numpy.random._pickle __generator_ctor": _generator,
    "numpy.random._pickle __randomstate_ctor": _generator,
    "numpy.random.bit_generator __pyx_unpickle_SeedSequence": _own_class,
    "sklearn.metrics._dist_metrics newObj": _own_class,
    "sklearn.neighbors._kd_tree newObj": _own_class,
    "sklearn.neighbors._ball_tree newObj": _own_class,
    "sklearn.tree._tree Tree": _tree,
}
"""`module name` of what may be called, with the rule for its arguments: the model of the result, or None."""

OTHER_NAMES = frozenset({"numpy ndarray", "numpy memmap", *_TENSOR_TYPES})
"""Names that only a maker may be given."""
