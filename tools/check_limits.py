"""The limits of the house: no file over 400 lines, no function over 50, no junk-drawer names.

A function's length is counted without its docstring. Prints every breach and ends with 1 if there is one.
"""

import ast
import sys
from pathlib import Path

MAX_FILE = 400
MAX_FUNCTION = 50
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
ROOTS = ("src", "tests", "tools", "benchmarks", "examples")


def body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines the body takes, without the docstring."""
    body = node.body
    if ast.get_docstring(node) is not None:
        body = body[1:]
    if not body:
        return 0
    return (node.end_lineno or 0) - body[0].lineno + 1


def breaches(path: Path) -> list[str]:
    """Return one line for each limit that the file breaks."""
    text = path.read_text(encoding="utf-8")
    found = []
    lines = len(text.splitlines())
    if lines > MAX_FILE:
        found.append(f"{path}: {lines} lines, at most {MAX_FILE}")
    if path.stem in BANNED_NAMES:
        found.append(f"{path}: name the noun instead of {path.stem!r}")
    functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    found.extend(
        f"{path}:{node.lineno}: {node.name} has {body_length(node)} lines, at most {MAX_FUNCTION}"
        for node in functions
        if body_length(node) > MAX_FUNCTION
    )
    return found


def main() -> int:
    """Check every Python file of the project."""
    files = [path for root in ROOTS for path in sorted(Path(root).rglob("*.py"))]
    if not files:
        print("no Python files found: run this from the repository's root")
        return 1
    found = [line for path in files for line in breaches(path)]
    print("\n".join(found) if found else f"limits hold in {len(files)} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
