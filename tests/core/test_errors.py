import re

import pytest

from wherry.core import errors
from wherry.core.errors import WherryError

BRANCHES = {
    "UsageError": 2,
    "RefusedError": 3,
    "BadInputError": 4,
    "ToolchainMissingError": 5,
    "TrustError": 6,
    "DeviceError": 7,
}


def all_classes(kind: type[WherryError] = WherryError) -> list[type[WherryError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in all_classes(child))]


def own_classes() -> list[type[WherryError]]:
    return [kind for kind in all_classes() if kind.__module__ == errors.__name__]


def documented_tree() -> dict[str, tuple[str | None, int | None]]:
    """Name -> (parent, exit code if one stands there), read from the module's docstring."""
    path: list[str] = []
    tree: dict[str, tuple[str | None, int | None]] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([│├└─ ]*)(\w+Error)\b(?: +(\d))?", line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        path = [*path[:depth], match[2]]
        tree[match[2]] = (path[-2] if depth else None, int(match[3]) if match[3] else None)
    return tree


def test_the_documented_tree_is_the_tree_of_classes() -> None:
    real = {kind.__name__: kind.__base__.__name__ if kind is not WherryError else None for kind in own_classes()}
    assert {name: parent for name, (parent, _) in documented_tree().items()} == real


def test_the_documented_exit_codes_are_the_real_ones() -> None:
    documented = {name: code for name, (_, code) in documented_tree().items() if code is not None}
    assert documented == {"WherryError": 1, **BRANCHES}
    for name, code in documented.items():
        assert getattr(errors, name).exit_code == code


def test_each_branch_has_one_exit_code_of_its_own() -> None:
    assert {kind.__name__: kind.exit_code for kind in WherryError.__subclasses__()} == BRANCHES
    for branch in WherryError.__subclasses__():
        assert {kind.exit_code for kind in all_classes(branch)} == {branch.exit_code}


@pytest.mark.parametrize("kind", own_classes(), ids=lambda kind: kind.__name__)
def test_every_error_says_what_happened_and_what_to_do(kind: type[WherryError]) -> None:
    error = kind("The file is gone.")
    assert str(error) == error.message == "The file is gone."
    assert error.next_step == kind.default_next_step
    assert error.next_step.strip()
    assert kind.__doc__
    with pytest.raises(WherryError):
        raise error


@pytest.mark.parametrize("kind", own_classes(), ids=lambda kind: kind.__name__)
def test_a_given_next_step_wins_even_when_it_is_empty(kind: type[WherryError]) -> None:
    assert kind("Gone.", next_step="Make it again.").next_step == "Make it again."
    assert kind("Gone.", next_step="").next_step == ""


def test_only_a_bug_asks_to_be_reported() -> None:
    asking = [kind.__name__ for kind in own_classes() if "bug" in kind.default_next_step]
    assert asking == ["WherryError"]
