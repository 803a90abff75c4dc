from pathlib import Path

import pytest

from tools import check_limits


def source(tmp_path: Path, text: str, name: str = "boat.py") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def function(lines: int, head: str = "def carry():") -> str:
    return head + "\n" + "    x = 1\n" * lines


def test_a_file_at_the_limits_is_fine(tmp_path: Path) -> None:
    assert check_limits.breaches(source(tmp_path, function(50))) == []
    assert check_limits.breaches(source(tmp_path, "x = 1\n" * 400)) == []


def test_a_long_file_is_named(tmp_path: Path) -> None:
    assert check_limits.breaches(source(tmp_path, "x = 1\n" * 401))[0].endswith("boat.py: 401 lines, at most 400")


@pytest.mark.parametrize("head", ["def carry():", "async def carry():", "class Boat:\n  def carry(self):"])
def test_a_long_function_is_named_with_its_line(tmp_path: Path, head: str) -> None:
    found = check_limits.breaches(source(tmp_path, function(51, head)))
    assert len(found) == 1
    assert found[0].endswith("carry has 51 lines, at most 50")


def test_a_docstring_does_not_count(tmp_path: Path) -> None:
    text = 'def carry():\n    """Carry.\n' + "\n    More.\n" * 60 + '    """\n' + "    x = 1\n" * 50
    assert check_limits.breaches(source(tmp_path, text)) == []
    assert check_limits.breaches(source(tmp_path, 'def carry():\n    """Carry."""\n')) == []


def test_a_junk_drawer_is_named(tmp_path: Path) -> None:
    assert "name the noun" in check_limits.breaches(source(tmp_path, "x = 1\n", "utils.py"))[0]


def test_the_exit_status_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_limits.main() == 1
    assert "repository's root" in capsys.readouterr().out
    (tmp_path / "src").mkdir()
    source(tmp_path / "src", "x = 1\n")
    assert check_limits.main() == 0
    assert "limits hold in 1 files" in capsys.readouterr().out
    source(tmp_path / "src", "x = 1\n" * 401, "long.py")
    assert check_limits.main() == 1
    assert "401 lines" in capsys.readouterr().out
