"""Pins the environment: writes `requirements/uv.txt` and `requirements/all.txt`, every line with its hashes.

Both hold for every platform and Python 3.11 or newer, and name no package index, so that they install from whichever
registry a machine is set up for. What is pinned already stays as it is; `--upgrade` moves it to the newest that fits.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("requirements")
HEADER = "make lock"
EXTRAS = ("examples", "ray")
GROUPS = ("test", "lint", "build")
COMPILE = (
    "pip",
    "compile",
    "--quiet",
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-emit-find-links",
    f"--custom-compile-command={HEADER}",
)


def compile_lock(uv: str, source: str, output: Path, *options: str) -> None:
    """Resolve `source` into `output`.

    Raises:
        CalledProcessError: uv could not resolve it; uv has said why.
    """
    command = [uv, *COMPILE, *options, f"--output-file={output.as_posix()}", source]
    subprocess.run(command, cwd=ROOT, check=True)


def main(options: list[str]) -> int:
    """Write both files; `options` go to uv as they are, such as `--upgrade` or `--upgrade-package=ruff`."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        print("uv is not installed: run `make .venv/ready` first")
        return 5
    try:
        compile_lock(uv, (FOLDER / "uv.in").as_posix(), FOLDER / "uv.txt", *options)
        extras = [f"--extra={name}" for name in EXTRAS]
        groups = [f"--group={name}" for name in GROUPS]
        constraints = f"--constraints={(FOLDER / 'constraints.txt').as_posix()}"
        compile_lock(uv, "pyproject.toml", FOLDER / "all.txt", *extras, *groups, constraints, *options)
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
