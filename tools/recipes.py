"""Reads the README of an example: the commands in it are what is run, so they cannot go stale."""

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One model of an example: how it is registered, and with what it is calibrated."""

    model: str
    register: tuple[str, ...]
    """Arguments behind `wherry`."""
    checkpoint: Path
    """Relative to the example's folder."""
    calibration: Path | None


def commands(readme: str) -> list[list[str]]:
    """Return the command lines of all `sh` blocks, with continued lines joined, as lists of words."""
    found, inside, line = [], False, ""
    for text in readme.splitlines():
        if text.startswith("```"):
            inside = text.strip() == "```sh"
            continue
        if not inside:
            continue
        line += text.removesuffix("\\")
        if not text.endswith("\\"):
            words = shlex.split(line, comments=True)
            found += [words] if words else []
            line = ""
    return found


def recipes(readme: str) -> list[Recipe]:
    """Return the models that the commands register, in the order of the text."""
    lines = commands(readme)
    calibrations = {
        words[2].partition("@")[0]: Path(words[words.index("--calibration") + 1])
        for words in lines
        if words[:2] == ["wherry", "export"] and "--calibration" in words
    }
    return [
        Recipe(
            model=words[2],
            register=tuple(words[1:]),
            checkpoint=Path(words[3]),
            calibration=calibrations.get(words[2]),
        )
        for words in lines
        if words[:2] == ["wherry", "register"]
    ]
