"""The commands in the examples' READMEs exist with those options, and name what the example has."""

import ast
from pathlib import Path

import pytest
import typer.main

from tools.recipes import commands, recipes
from wherry.cli.main import app

EXAMPLES = Path("examples")
FAMILIES = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))


def read(family):
    return (EXAMPLES / family / "README.md").read_text(encoding="utf-8")


def functions(path):
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_the_five_families_are_there():
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert len(FAMILIES) == 5
    assert [name for name in FAMILIES if f"[{name}]({name}/)" not in table] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_every_command_is_one_that_wherry_takes(family):
    verbs = typer.main.get_command(app).commands
    lines = [words[1:] for words in commands(read(family)) if words[0] == "wherry"]
    assert {words[0] for words in lines} == {"register", "export", "prove", "bench", "choose"}
    for verb, *arguments in lines:
        context = verbs[verb].make_context(verb, arguments, resilient_parsing=False)
        assert context.params


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_registered_is_built_by_the_example(family):
    found = recipes(read(family))
    own = functions(EXAMPLES / family / "network.py")
    assert found
    for recipe in found:
        options = dict(zip(recipe.register[3::2], recipe.register[4::2], strict=False))
        assert options["--network"].partition(":")[2] in own
        assert options.get("--adapt", "network:" + options["--network"].partition(":")[2]).partition(":")[2] in own
        assert recipe.calibration is not None
        assert recipe.calibration.parent == recipe.checkpoint.parent


def test_commands_are_read_from_sh_blocks_only_and_continued_lines_are_one():
    text = "```sh\nwherry export a@v1 \\\n  --all  # everything\n```\n```python\nwherry = 1\n```\nwherry none\n"
    assert commands(text) == [["wherry", "export", "a@v1", "--all"]]
