"""The pinned environment: what every machine with its own registry must be able to install."""

import re
import tomllib
from pathlib import Path

import pytest

from tools import lock

ROOT = Path(__file__).resolve().parents[2]
LOCKS = [ROOT / lock.FOLDER / name for name in ("uv.txt", "all.txt")]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path: Path) -> dict[str, str]:
    """Name -> the block of lines that pins it; a package may have one block for each platform."""
    blocks = re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^ *#.*\n", "", path.read_text(encoding="utf-8")))
    return {normal(block.partition("==")[0]): block for block in blocks if block.strip()}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_package_is_pinned_with_hashes(path: Path) -> None:
    assert pins(path)
    for name, block in pins(path).items():
        assert re.match(r"[a-z0-9._-]+==\S+", block), name
        assert "--hash=sha256:" in block, name


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_no_index_no_address_and_no_path_stands_in_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"(?m)^-.*|.*://.*|.* @ .*|.*file:.*|^#.*\s/\S+", text) == []


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    groups = project["dependency-groups"]
    lists = [project["project"]["dependencies"], *extras.values(), *(groups[name] for name in lock.GROUPS)]
    names = {normal(NAME.match(line)[0]) for requirements in lists for line in requirements}
    return names - {"wherry"}


def test_everything_that_the_project_declares_is_pinned() -> None:
    assert declared() - set(pins(ROOT / lock.FOLDER / "all.txt")) == set()


def test_torch_is_the_one_that_was_chosen() -> None:
    assert pins(ROOT / lock.FOLDER / "all.txt")["torch"].startswith("torch==2.13.")


def test_uv_is_the_same_in_both() -> None:
    first, second = (pins(path)["uv"].splitlines()[0] for path in LOCKS)
    assert first == second


def test_without_uv_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(lock.shutil, "which", lambda *arguments, **options: None)
    assert lock.main([]) == 5
    assert "make .venv/ready" in capsys.readouterr().out


def test_both_files_are_compiled_for_every_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(lock.subprocess, "run", lambda command, **options: commands.append(command))
    assert lock.main(["--upgrade"]) == 0
    assert [command[-1] for command in commands] == ["requirements/uv.in", "pyproject.toml"]
    for command in commands:
        assert {"--universal", "--generate-hashes", "--no-emit-index-url", "--upgrade"} <= set(command)


def test_the_status_of_a_failed_resolution_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **options: object) -> None:
        raise lock.subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(lock.subprocess, "run", fail)
    assert lock.main([]) == 1
