"""Options of formats as a person types them: `key=value`, typed by the members that know them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wherry.core.errors import UsageError
from wherry.core.variant import Target
from wherry.export.targets import TARGETS, exporter_class

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def with_options(targets: Sequence[Target], pairs: Sequence[str]) -> list[Target]:
    """Return the targets, each with those of the options that it knows.

    Args:
        targets: what is to be built.
        pairs: `key=value`, or `format.key=value` for one format; a value for a list is separated by commas.

    Raises:
        UsageError: a pair is malformed, a value has the wrong type, or none of the targets knows the option.
        NotFoundError: a format does not exist.
    """
    found = list(targets)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            msg = f"{pair!r} is not an option."
            raise UsageError(msg, next_step="Write --option KEY=VALUE, such as --option opset=17.")
        only, _, key = key.rpartition(".")
        kinds = [_kind(target, key) if only in ("", target.format) else None for target in found]
        if not any(kinds):
            names = ", ".join(target.name for target in found)
            msg = f"None of {names} has an option {key!r}."
            raise UsageError(msg, next_step=_who_knows(key))
        found = [
            target if kind is None else replace(target, options={**target.options, key: _value(key, text, kind)})
            for target, kind in zip(found, kinds, strict=True)
        ]
    return found


def _kind(target: Target, key: str) -> type | None:
    return exporter_class(target.format).options_of(target.precision).get(key)


def _who_knows(key: str) -> str:
    members = [(name, exporter_class(name)) for name in TARGETS]
    known = [
        f"{name}-{precision}"
        for name, member in members
        for precision in member.precisions
        if key in member.options_of(precision)
    ]
    if known:
        return f"These have it: {', '.join(known)}."
    every = sorted({option for _, member in members for p in member.precisions for option in member.options_of(p)})
    return f"The options that there are: {', '.join(every) or 'none'}."


def _value(key: str, text: str, kind: type) -> Any:
    if kind is bool and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if kind is list:
        return [part for part in text.split(",") if part]
    try:
        if kind in (int, float, str):
            return kind(text)
    except ValueError:
        pass
    msg = f"The option {key!r} is {text!r}, and {'true or false' if kind is bool else kind.__name__} is expected."
    raise UsageError(msg)
