"""The rules of the house that no linter knows. They read the source; only the last ones import it."""

import ast
import json
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import check_limits

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "wherry"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
MEMBER = re.compile(r"wherry(\.\w+)+:\w+")
# A way around a check, or a promise to do it later.
EXCUSES = re.compile(r"type: *ignore|noqa|TODO|FIXME|XXX|HACK|pragma: *no *cover|fmt: *off|mypy:|pylint:")


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def test_the_source_is_found() -> None:
    assert {"core/errors.py", "runtime/interface.py", "proof/prove.py"} <= {relative(path) for path in FILES}


def test_no_file_and_no_function_is_over_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    checked = [path for root in check_limits.ROOTS for path in sorted(Path(root).rglob("*.py"))]
    assert [line for path in checked for line in check_limits.breaches(path)] == []


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as stream:
        for token in tokenize.tokenize(stream.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def test_no_comment_excuses_its_line_from_a_check() -> None:
    found = [
        f"{relative(path)}:{line}: {text}" for path in FILES for line, text in comments(path) if EXCUSES.search(text)
    ]
    assert found == []


def test_nothing_is_left_unimplemented() -> None:
    found = [
        f"{relative(path)}:{node.lineno}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "NotImplementedError"
    ]
    assert found == []


def test_no_package_is_empty() -> None:
    packages = [path.parent for path in FILES if path.name == "__init__.py"]
    empty = [
        relative(package)
        for package in packages
        if not any(package.glob("*/__init__.py"))
        and all(set(map(type, TREES[path].body)) <= {ast.Expr} for path in package.glob("*.py"))
    ]
    assert empty == []


def makers(word: str) -> set[str]:
    """Files that call `word(...)`."""

    def name(node: ast.Call) -> str | None:
        return getattr(node.func, "id", None) or getattr(node.func, "attr", None)

    return {
        relative(path)
        for path, tree in TREES.items()
        if any(isinstance(node, ast.Call) and name(node) == word for node in ast.walk(tree))
    }


@pytest.mark.parametrize(("word", "room"), [("Proven", "proof/"), ("Trusted", "bundle/trust/")])
def test_words_that_promise_a_check_are_made_only_where_it_is_done(word: str, room: str) -> None:
    assert [path for path in makers(word) if not path.startswith(room)] == []


def test_only_the_proof_says_proven() -> None:
    assert makers("Proven") == {"proof/prove.py"}


def table_of(tree: ast.Module) -> dict[str, str]:
    """The family's table in an `__init__.py`: name -> import string; empty when there is none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict) and node.values:
            values = [value.value if isinstance(value, ast.Constant) else None for value in node.values]
            if all(isinstance(value, str) and MEMBER.fullmatch(value) for value in values):
                return {key.value: value for key, value in zip(node.keys, values, strict=True)}
    return {}


def families() -> dict[Path, dict[str, str]]:
    """Folder of each plugin family -> its table."""
    inits = [path for path in FILES if path.name == "__init__.py"]
    return {path.parent: table for path in inits if (table := table_of(TREES[path]))}


FAMILIES = [pytest.param(folder, table, id=relative(folder)) for folder, table in families().items()]


def test_the_families_are_found() -> None:
    assert {"runtime/engines", "proof/tasks"} <= {relative(folder) for folder in families()}


@pytest.mark.parametrize(("folder", "table"), FAMILIES)
def test_every_entry_of_a_table_names_something_that_is_there(folder: Path, table: dict[str, str]) -> None:
    for key, entry in table.items():
        module, _, attribute = entry.partition(":")
        path = SOURCE.joinpath(*module.split(".")[1:]).with_suffix(".py")
        assert path in TREES, f"{key}: {entry} has no file"
        assigned = {getattr(name, "id", None) for node in TREES[path].body for name in getattr(node, "targets", ())}
        defined = {getattr(node, "name", None) for node in TREES[path].body} | assigned
        assert attribute in defined, f"{key}: {relative(path)} does not define {attribute}"


@pytest.mark.parametrize(("folder", "table"), FAMILIES)
def test_every_file_of_a_family_is_in_its_table(folder: Path, table: dict[str, str]) -> None:
    named = {entry.partition(":")[0].rpartition(".")[2] for entry in table.values()}
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == named


@pytest.mark.parametrize(("folder", "table"), FAMILIES)
def test_a_family_has_its_interface_one_level_up(folder: Path, table: dict[str, str]) -> None:
    names = {"interface.py", f"{folder.name.removesuffix('s')}.py"}
    assert any(folder.parent / name in TREES for name in names), f"none of {sorted(names)} in {folder.parent.name}/"


def test_a_room_that_is_there_is_a_layer_that_must_be_there() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    optional = re.findall(r"\((\w+)\)", " ".join(layers))
    assert [room for room in optional if (SOURCE / room).is_dir()] == [], "take the parentheses away"


IMPORT_ALL = """
import importlib, importlib.abc, json, pkgutil, sys
rooms, heavy = json.loads(sys.argv[1])

class Watch(importlib.abc.MetaPathFinder):
    asked = set()
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in heavy:
            self.asked.add(name)
            raise ModuleNotFoundError(name)

def stop(name):
    raise ImportError(name)

sys.meta_path.insert(0, Watch())
for room in rooms:
    module = importlib.import_module(room)
    for info in pkgutil.walk_packages(getattr(module, "__path__", []), room + ".", onerror=stop):
        if not info.name.endswith(".__main__"):
            importlib.import_module(info.name)
print(json.dumps(sorted(Watch.asked)))
"""
TRAINING_SITE = ["torch", "torchvision", "onnx", "onnxscript", "litert_torch", "sklearn", "sqlalchemy", "alembic"]
RUNTIMES = ["onnxruntime", "ai_edge_litert", "openvino", "tensorflow"]
EVERYTHING = [*TRAINING_SITE, *RUNTIMES, "obstore", "tuf", "starlette", "uvicorn", "numpy", "PIL"]


@pytest.mark.parametrize(
    ("rooms", "heavy"),
    [
        (["wherry.core"], EVERYTHING),
        (["wherry.cli.main"], EVERYTHING),
        (["wherry.runtime", "wherry.proof"], [*TRAINING_SITE, *RUNTIMES, "PIL"]),
        (["wherry.agent"], [*TRAINING_SITE, *RUNTIMES, "obstore", "starlette"]),
        (["wherry.serving"], [*TRAINING_SITE, *RUNTIMES, "obstore"]),
    ],
    ids=lambda names: names[0] if names[0].startswith("wherry") else "",
)
def test_importing_a_room_loads_nothing_heavy(rooms: list[str], heavy: list[str]) -> None:
    here = [room for room in rooms if SOURCE.parent.joinpath(*room.split(".")).exists() or "." in room[7:]]
    command = [sys.executable, "-c", IMPORT_ALL, json.dumps([here, heavy])]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "src", check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == []
