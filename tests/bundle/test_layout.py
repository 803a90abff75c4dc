"""Which names may stand in a bundle, and where things lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.bundle.layout import blob_path, parse_stored_target, path_fault, set_fault, stored_target
from wherry.core.digest import sha256_hex
from wherry.core.errors import BadInputError

ESCAPES = [
    "",
    "/etc/passwd",
    "../up",
    "a/../../up",
    "a/..",
    "./a",
    "a//b",
    "a/",
    "C:/windows",
    "C:relative",
    "\\\\server\\share",
    "a\\..\\b",
    "file:stream",
    "file.txt:Zone.Identifier:$DATA",
    "CON",
    "con.txt",
    "a/NUL",
    "com1.json",
    "LPT9",
    "CONIN$",
    "ends.",
    "ends ",
    ".hidden",
    "nul\x00byte",
    "line\nbreak",
    "caf\u00e9",
    "cafe\u0301",
    "\u202egnp.exe",
    "a" * 241,
    "~root",
    "-option",
    "a b",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_what_could_escape_or_mean_two_things_is_refused(path: str) -> None:
    assert path_fault(path)


@pytest.mark.parametrize(
    "path", ["model.onnx", "a/b-c/d_e+f.bin", "_config", "model.onnx.data", "console.txt", "a" * 240]
)
def test_plain_names_are_allowed(path: str) -> None:
    assert path_fault(path) is None


@given(st.text(max_size=30))
def test_an_allowed_path_stays_inside_on_every_system(path: str) -> None:
    if path_fault(path) is None:
        import ntpath
        import posixpath

        for system in (ntpath, posixpath):
            assert not system.isabs(path)
            assert not system.splitdrive(path)[0]
            assert not system.normpath(path).startswith("..")
        assert path.isascii()


@pytest.mark.parametrize(
    ("paths", "clause"),
    [
        (["a", "b", "a"], "there twice"),
        (["Model.onnx", "model.ONNX"], "there twice"),
        (["a/b", "A"], "a file and a folder"),
        (["a", "a/b/c"], "a file and a folder"),
        (["a", "../b"], "leads out"),
    ],
)
def test_sets_that_do_not_fit_together(paths: list[str], clause: str) -> None:
    assert clause in (set_fault(paths) or "")


def test_a_set_that_fits() -> None:
    assert set_fault(["a/b", "a/c", "b"]) is None


def test_stored_targets_are_read_as_they_are_written() -> None:
    digest = sha256_hex(b"manifest")
    assert parse_stored_target(stored_target("EmberEye", 12, digest)) == ("EmberEye", 12, digest)
    assert parse_stored_target(f"tuf/targets/a/b/1/{digest}.manifest.json") is None
    assert parse_stored_target(f"tuf/targets/a/0/{digest}.manifest.json") is None


def test_a_blob_lies_under_its_digest() -> None:
    digest = sha256_hex(b"blob")
    assert blob_path(digest) == f"blobs/sha256/{digest[:2]}/{digest}"
    with pytest.raises(BadInputError):
        blob_path("../../etc")
