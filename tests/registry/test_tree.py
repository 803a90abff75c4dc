"""The readable tree: right names, repaired, renamed, and nobody else's file touched."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wherry.core.errors import BadInputError, BusyError, NotFoundError, StorageError
from wherry.registry import Registry, database
from wherry.registry.tree import export_names, refresh, weight_names
from wherry.registry.view import INDEX, LOCK, alone

Call = Callable[..., Any]
MODEL = "fire-detector"


@pytest.fixture
def two(registry: Registry, register: Call, make_variant: Call) -> Registry:
    register("one")
    version = register("two", lineage={"new_images": 100, "previous_version": "v1"})
    registry.promote(f"{MODEL}@v2", "current_best", who="ada", why="better")
    registry.put_variant(make_variant(registry, version, "onnx-fp32"))
    registry.put_variant(make_variant(registry, version, "onnx-int8"))
    files = {"model.xml": b"<net/>", "model.bin": b"ir"}
    registry.put_variant(make_variant(registry, version, "openvino-fp32", files=files))
    return registry


def shown(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in {INDEX, LOCK}
    }


def test_the_tree_can_be_read_with_ls(two: Registry) -> None:
    folder = refresh(two, MODEL, "EmberEye")
    assert folder == (two.root / "models" / MODEL).resolve()
    files = shown(folder)
    assert sorted(files) == [
        "current_best.pt",
        "exports/v2/EmberEye.bin",
        "exports/v2/EmberEye.onnx",
        "exports/v2/EmberEye.xml",
        "exports/v2/EmberEye_int8.onnx",
        "v1/metadata.json",
        "v1/weights/EmberEye.pt",
        "v1/weights/EmberEye.pt2",
        "v2/metadata.json",
        "v2/weights/EmberEye.pt",
        "v2/weights/EmberEye.pt2",
    ]
    assert files["v1/weights/EmberEye.pt"] == b"weights one"
    assert files["v2/weights/EmberEye.pt2"] == b"program two"
    assert files["current_best.pt"] == b"weights two"
    assert files["exports/v2/EmberEye_int8.onnx"] == b"fire-detector@v2 onnx-int8"
    assert (folder / "current_best.pt").readlink() == Path("v2/weights/EmberEye.pt")


def test_metadata_holds_every_field_of_the_contract(two: Registry) -> None:
    folder = refresh(two, MODEL, "EmberEye")
    document = json.loads((folder / "v2/metadata.json").read_bytes())
    assert document.keys() >= {
        *("version", "timestamp", "training_images", "new_images", "total_epochs", "best_accuracy", "loss"),
        *("training_time_hours", "base_model", "config_snapshot", "previous_version", "training_strategy", "notes"),
    }
    assert (document["version"], document["training_images"], document["new_images"]) == ("v2", 1000, 100)
    assert (document["previous_version"], document["product"]) == ("v1", "EmberEye")
    assert document["timestamp"] == "2026-11-20T10:00:00+00:00"
    assert document["facts"] == {"num_games": 12, "win_rate": 0.5}
    assert document["metrics"] == {"accuracy": 0.97}
    assert document["digest"] == two.version(f"{MODEL}@v2").digest


def test_running_it_again_touches_nothing(two: Registry) -> None:
    folder = refresh(two, MODEL, "EmberEye")
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    refresh(two, MODEL, "EmberEye")
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_alias_follows_its_version(two: Registry) -> None:
    folder = refresh(two, MODEL, "EmberEye")
    two.promote(f"{MODEL}@v1", "current_best", who="bob", why="alarm")
    two.promote(f"{MODEL}@v2", "staging", who="bob", why="look again")
    refresh(two, MODEL, "EmberEye")
    assert (folder / "current_best.pt").read_bytes() == b"weights one"
    assert (folder / "staging.pt").read_bytes() == b"weights two"


def test_what_was_damaged_is_repaired(two: Registry) -> None:
    folder = refresh(two, MODEL, "EmberEye")
    before = shown(folder)
    (folder / "v1/weights/EmberEye.pt").unlink()
    (folder / "current_best.pt").unlink()
    (folder / "current_best.pt").symlink_to("nowhere")
    (folder / "v2/metadata.json").write_bytes(b"{}")
    (folder / "v2/weights/EmberEye.pt").unlink()
    (folder / "v2/weights/EmberEye.pt").write_bytes(b"somebody's")
    refresh(two, MODEL, "EmberEye")
    assert shown(folder) == before


def test_another_product_name_leaves_no_stale_name(two: Registry) -> None:
    refresh(two, MODEL, "EmberEye")
    folder = refresh(two, MODEL, "Torch")
    assert not [name for name in shown(folder) if "EmberEye" in name]
    assert (folder / "exports/v2/Torch_int8.onnx").is_file()


def test_a_variant_that_is_replaced_leaves_no_stale_file(two: Registry, make_variant: Call) -> None:
    folder = refresh(two, MODEL, "EmberEye")
    version = two.version(f"{MODEL}@v2")
    files = {"model.onnx": b"net", "model.onnx.data": b"weights"}
    two.put_variant(make_variant(two, version, "onnx-fp32", files=files))
    refresh(two, MODEL, "EmberEye")
    assert not (folder / "exports/v2/EmberEye.onnx").exists()
    assert (folder / "exports/v2/onnx-fp32/EmberEye.onnx").read_bytes() == b"net"
    assert (folder / "exports/v2/onnx-fp32/model.onnx.data").read_bytes() == b"weights"
    two.put_variant(make_variant(two, version, "onnx-fp32"))
    refresh(two, MODEL, "EmberEye")
    assert not (folder / "exports/v2/onnx-fp32").exists()


def test_other_peoples_files_are_left_alone(two: Registry) -> None:
    folder = refresh(two, MODEL, "EmberEye")
    package = folder / "exports/v2/packages/EmberEye_v2_auto_all.zip"
    package.parent.mkdir()
    package.write_bytes(b"zip")
    (folder / "v1/weights/notes.txt").write_bytes(b"mine")
    (folder / "staging.pt").write_bytes(b"mine too")
    two.promote(f"{MODEL}@v2", "staging", who="ada", why="try")
    for _ in range(2):
        with pytest.raises(BadInputError, match="not one of wherry's files"):
            refresh(two, MODEL, "EmberEye")
    assert (folder / "staging.pt").read_bytes() == b"mine too"
    (folder / "staging.pt").unlink()
    refresh(two, MODEL, "Torch")
    assert package.read_bytes() == b"zip"
    assert (folder / "v1/weights/notes.txt").read_bytes() == b"mine"
    assert (folder / "staging.pt").read_bytes() == b"weights two"


def test_the_whole_registry_can_be_moved(two: Registry, tmp_path: Path) -> None:
    refresh(two, MODEL, "EmberEye")
    two.close()
    moved = two.root.rename(tmp_path / "elsewhere")
    assert (moved / "models" / MODEL / "current_best.pt").read_bytes() == b"weights two"


@pytest.mark.parametrize("index", [b"not json", b'{"schema": 9}', None])
def test_a_lost_index_is_made_again(two: Registry, index: bytes | None) -> None:
    folder = refresh(two, MODEL, "EmberEye")
    before = shown(folder)
    (folder / INDEX).unlink()
    if index is not None:
        (folder / INDEX).write_bytes(index)
    refresh(two, MODEL, "EmberEye")
    assert shown(folder) == before
    assert len(json.loads((folder / INDEX).read_bytes())["paths"]) == len(before)


def test_a_forged_index_removes_nothing_outside(two: Registry, tmp_path: Path) -> None:
    folder = refresh(two, MODEL, "EmberEye")
    (tmp_path / "outside").mkdir()
    victim = tmp_path / "outside" / "victim.txt"
    victim.write_bytes(b"precious")
    (folder / "way").symlink_to(tmp_path / "outside")
    (folder / INDEX).write_text(json.dumps({"schema": 1, "paths": ["way/victim.txt"]}))
    refresh(two, MODEL, "EmberEye")
    assert victim.read_bytes() == b"precious"
    (folder / INDEX).write_text(json.dumps({"schema": 1, "paths": ["../../../outside/victim.txt"]}))
    with pytest.raises(BadInputError, match="cannot name a file"):
        refresh(two, MODEL, "EmberEye")
    assert victim.read_bytes() == b"precious"


def test_where_links_are_not_allowed_files_are_copied(two: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Path, target: Any, target_is_directory: bool = False) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", forbidden)
    folder = refresh(two, MODEL, "EmberEye")
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    assert (folder / "current_best.pt").read_bytes() == b"weights two"
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    refresh(two, MODEL, "EmberEye")
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before
    two.promote(f"{MODEL}@v1", "current_best", who="bob", why="alarm")
    refresh(two, MODEL, "EmberEye")
    assert (folder / "current_best.pt").read_bytes() == b"weights one"


def test_one_at_a_time(two: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = refresh(two, MODEL, "EmberEye")
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with alone(folder), pytest.raises(BusyError, match="Another process"):
        refresh(two, MODEL, "EmberEye")
    refresh(two, MODEL, "EmberEye")


def test_a_tree_that_cannot_be_written_half_way_is_a_storage_error(two: Registry) -> None:
    (two.root / "models" / MODEL).mkdir()
    (two.root / "models" / MODEL / "v1").write_bytes(b"in the way")
    with pytest.raises(StorageError, match=r"Not a directory|File exists"):
        refresh(two, MODEL, "EmberEye")
    assert (two.root / "models" / MODEL / "v1").read_bytes() == b"in the way"


def test_bad_input_is_one_sentence(two: Registry) -> None:
    with pytest.raises(NotFoundError, match="no model"):
        refresh(two, "nobody", "EmberEye")
    assert not (two.root / "models" / "nobody").exists()
    with pytest.raises(BadInputError, match="cannot be a product"):
        refresh(two, MODEL, "../EmberEye")
    (two.root / "models" / MODEL).write_bytes(b"in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        refresh(two, MODEL, "EmberEye")


def test_names_do_not_collide(two: Registry, make_variant: Call) -> None:
    version = two.version(f"{MODEL}@v2")
    blob = version.program

    def named(*paths: str) -> Any:
        return tuple(replace(blob, path=path) for path in paths)

    same = replace(version, checkpoint=named("a/weights.pt2", "config.json", "b/config.json"))
    assert list(weight_names(same, "E")) == ["E.pt2", "config.json", "config_2.json", "E_program.pt2"]
    assert list(weight_names(replace(version, checkpoint=()), "E")) == ["E.pt2"]
    twins = [make_variant(two, version, name) for name in ("program-fp32", "executorch-fp32", "program-int8")]
    twins = [replace(variant, files=named("model.pt2")) for variant in twins]
    assert list(export_names(twins, "E")) == ["E.pt2", "E_executorch-fp32.pt2", "E_int8.pt2"]
    beside = [replace(twins[0], files=named("model.onnx", "deployment_metadata.json"))]
    assert list(export_names(beside, "E")) == ["E.onnx", "E.onnx.json"]
    nested = [replace(twins[0], files=named("net/model.xml", "data/model.bin"))]
    assert sorted(export_names(nested, "E")) == ["program-fp32/data/model.bin", "program-fp32/net/E.xml"]
