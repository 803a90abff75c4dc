"""Every entry of the troubleshooting guide is true: its words are in the source, its options on the command line."""

import ast
import re
from pathlib import Path

import pytest
import typer.main

from wherry.cli.main import app

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/guides/troubleshooting.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in GUIDE.splitlines() if line.startswith("| ")]
ENTRIES = [row for row in ROWS if row[0] != "you see"]
MESSAGES = [row[0].strip("`") for row in ENTRIES if row[0].startswith("`")]


def literals() -> str:
    """Return every text of the source, with `…` for what an f-string fills in."""
    texts = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


@pytest.fixture(scope="module")
def source() -> str:
    return literals()


def test_the_guide_has_entries():
    assert len(ENTRIES) > 20
    assert all(len(row) == 3 and all(row) for row in ENTRIES)


@pytest.mark.parametrize("message", MESSAGES)
def test_the_words_are_those_that_wherry_prints(message: str, source: str):
    if message.startswith("first broken rung: "):  # the rung's name is filled in
        rung = message.removeprefix("first broken rung: ")
        assert "first broken rung: …" in source
        assert rung in source
    else:
        pattern = ".{0,40}".join(re.escape(part) for part in message.split("…"))
        assert re.search(pattern, source), message


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`(wherry [a-z]+[^`]*)`", GUIDE))))
def test_the_commands_are_there(command: str):
    root = typer.main.get_command(app)
    _, verb, *words = command.split()
    found = root.commands[verb]
    options = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options
