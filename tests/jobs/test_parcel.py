"""Jobs as parcels: what travels, and what is refused when it arrives."""

from pathlib import Path

import pytest

from wherry.core.digest import sha256_hex
from wherry.core.errors import BadInputError, DigestMismatchError, StorageError, ToolchainMissingError
from wherry.core.job import Luggage
from wherry.jobs import ray
from wherry.jobs.child import run_in_child
from wherry.jobs.parcel import Carried, files_of, folders_of, moved, unpack
from wherry.jobs.pool import Jobs, opened


def test_files_and_folders_get_names_of_their_own(tmp_path: Path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "model.xml").write_text("x")
    (tmp_path / "a" / "deep" / "model.bin").write_text("y")
    (tmp_path / "one.npz").write_text("z")
    luggage = Luggage(files=(str(tmp_path / "one.npz"),), folders=(str(tmp_path / "a"),), out=(str(tmp_path / "o"),))
    assert [name for _, name in files_of(luggage)] == [
        "file0/one.npz",
        "folder0/deep/model.bin",
        "folder0/model.xml",
    ]
    assert list(folders_of(luggage).values()) == ["folder0", "folder1"]


def test_only_whole_paths_move():
    document = {"a": "/here/x", "b": ["/here/x", "/here/xy", 3, None], "c": {"d": "no /here/x"}}
    assert moved(document, {"/here/x": "/there/x"}) == {
        "a": "/there/x",
        "b": ["/there/x", "/here/xy", 3, None],
        "c": {"d": "no /here/x"},
    }


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ""])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str):
    file = Carried(path="x", name=name, sha256=sha256_hex(b"x"))
    with pytest.raises(DigestMismatchError, match="leaves its folder"):
        unpack([(file, b"x")], tmp_path / "in")
    assert not list(tmp_path.rglob("x"))


def test_a_changed_file_and_a_full_disk_are_refused(tmp_path: Path):
    file = Carried(path="x", name="a/x", sha256=sha256_hex(b"x"))
    with pytest.raises(DigestMismatchError, match="did not arrive as it left"):
        unpack([(file, b"y")], tmp_path)
    assert not (tmp_path / "a").exists()
    (tmp_path / "a").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        unpack([(file, b"x")], tmp_path)


def test_jobs_run_here_unless_a_cluster_is_named(monkeypatch: pytest.MonkeyPatch):
    with opened(Jobs()) as pool:
        assert (pool.run, pool.parallel) == (run_in_child, 2)
    with opened(Jobs(parallel=5)) as pool:
        assert pool.parallel == 5
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(BadInputError, match="No Ray cluster was named") as caught, opened(Jobs(on="ray")):
        pass
    assert "ray start --head" in caught.value.next_step
    monkeypatch.setattr(ray, "installed_version", lambda module: None)
    with pytest.raises(ToolchainMissingError) as missing, opened(Jobs(on="ray", ray_address="h:1")):
        pass
    assert missing.value.next_step == "Run: pip install 'wherry[ray]'"
