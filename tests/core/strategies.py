"""Any value of any core dataclass, built from its type hints."""

import dataclasses
import enum
import importlib
import pkgutil
import types
import typing
from functools import cache

from hypothesis import strategies as st

import wherry.core

JSON_INTEGERS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
JSON_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_SCALARS = st.none() | st.booleans() | JSON_INTEGERS | JSON_FLOATS | st.text(max_size=8)
JSON_VALUES = (
    JSON_SCALARS | st.lists(JSON_SCALARS, max_size=2) | st.dictionaries(st.text(max_size=4), JSON_SCALARS, max_size=2)
)
SCALARS = {
    bool: st.booleans(),
    int: JSON_INTEGERS,
    float: JSON_FLOATS,
    str: st.text(max_size=12),
    type(None): st.none(),
}


def core_dataclasses() -> list[type]:
    """Every dataclass that a module of core defines."""
    modules = [
        importlib.import_module(f"wherry.core.{info.name}") for info in pkgutil.iter_modules(wherry.core.__path__)
    ]
    kinds = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.__name__
    ]
    return sorted(kinds, key=lambda kind: kind.__name__)


def values_of(hint: object) -> st.SearchStrategy[object]:
    """Values that fit a type hint; a hint that core does not use yet is an error."""
    if hint is typing.Any:
        return JSON_VALUES
    if hint in SCALARS:
        return SCALARS[hint]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return instances_of(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values_of(argument) for argument in arguments])
    if origin is dict:
        return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=2)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*[values_of(argument) for argument in arguments])
    msg = f"no strategy for {hint!r}: add one"
    raise TypeError(msg)


@cache
def instances_of(kind: type) -> st.SearchStrategy[object]:
    """Instances of a dataclass with any values in any fields."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: values_of(hints[field.name]) for field in dataclasses.fields(kind)})
