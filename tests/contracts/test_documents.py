"""What the documents name is there: links, modules, classes, commands."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "wherry"
ROOMS = "|".join(path.name for path in sorted(SOURCE.iterdir()) if path.is_dir() and not path.name.startswith("_"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CLASS = re.compile(rf"`((?:{ROOMS})(?:\.[a-z_0-9]+)+)\.([A-Z]\w+)`")
FILE = re.compile(rf"`((?:{ROOMS})/[\w/]+\.py)`")
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"(?m)^#+ +(.*)$", document.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(document: Path) -> None:
    for path, anchor in LINK.findall(document.read_text(encoding="utf-8")):
        found = (document.parent / path) if path else document
        assert found.exists(), path
        if anchor:
            assert anchor in anchors(found), f"{path}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_class_and_file_that_is_named_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for module, name in CLASS.findall(text):
        path = SOURCE.joinpath(*module.split(".")).with_suffix(".py")
        assert path.is_file(), module
        assert re.search(rf"(?m)^class {name}\b", path.read_text(encoding="utf-8")), f"{module}.{name}"
    for path in FILE.findall(text):
        assert (SOURCE / path).is_file(), path


def test_the_verbs_of_make_that_contributors_are_told_of_are_there() -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    told = set(re.findall(r"`make ([a-z]+)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    assert told
    assert told - targets == set()


def test_every_exit_code_stands_in_the_glossary() -> None:
    from wherry.core.errors import WherryError

    rows = re.findall(r"(?m)^\| (\d) \|.*\|([^|]*)\|$", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"))
    documented = {kind: int(code) for code, cell in rows for kind in re.findall(r"`(\w+Error)`", cell)}
    real = {kind.__name__: kind.exit_code for kind in (WherryError, *WherryError.__subclasses__())}
    assert documented == real
