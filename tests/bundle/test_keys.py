"""The publisher's keys: made once, never overwritten, private."""

from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from tests.bundle.publishers import NOW, everything
from wherry.bundle.trust.keys import (
    ROLES,
    init_keys,
    key_path,
    list_keys,
    load_signer,
    read_root,
    renew_root,
    root_bytes,
    root_paths,
    root_until,
)
from wherry.core.errors import BadInputError, ExpiredError, NotFoundError, RefusedError, StorageError


def test_each_role_has_a_private_key_of_its_own(tmp_path: Path) -> None:
    summary = init_keys(tmp_path / "trust", now=NOW)
    assert summary.root == tmp_path / "trust" / "metadata" / "1.root.json"
    assert summary.root_version == 1
    assert summary.expires == (NOW + timedelta(days=365)).isoformat()
    assert [key.role for key in summary.keys] == list(ROLES)
    assert len({key.keyid for key in summary.keys}) == 4
    for key in summary.keys:
        assert key.scheme == "ed25519"
        assert key.path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "trust" / "keys").stat().st_mode & 0o777 == 0o700
    assert list_keys(tmp_path / "trust") == list(summary.keys)
    document = Metadata[Root].from_bytes(root_bytes(tmp_path / "trust"))
    document.signed.verify_delegate("root", document.signed_bytes, document.signatures)
    assert document.signed.consistent_snapshot


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    init_keys(tmp_path, now=NOW)
    before = everything(tmp_path)
    with pytest.raises(RefusedError, match="already") as caught:
        init_keys(tmp_path, now=NOW)
    assert caught.value.exit_code == 3
    assert caught.value.next_step
    assert everything(tmp_path) == before


def test_keys_of_a_run_that_was_cut_short_are_made_again(tmp_path: Path) -> None:
    init_keys(tmp_path, now=NOW)
    root_paths(tmp_path)[0].unlink()
    old = everything(tmp_path)
    init_keys(tmp_path)
    assert all(everything(tmp_path)[name] != data for name, data in old.items())


def test_no_keys_names_the_command(tmp_path: Path) -> None:
    for ask in (root_bytes, list_keys, read_root):
        with pytest.raises(NotFoundError) as caught:
            ask(tmp_path / "absent")
        assert "wherry keys init" in caught.value.next_step


def test_a_password_protects_the_private_keys(tmp_path: Path) -> None:
    init_keys(tmp_path, now=NOW, password=b"harbour")
    root = read_root(tmp_path)
    assert b"ENCRYPTED PRIVATE KEY" in key_path(tmp_path, "targets").read_bytes()
    assert load_signer(tmp_path, "targets", root, b"harbour").public_key.keyid == root.roles["targets"].keyids[0]
    for wrong in (None, b"port"):
        with pytest.raises(BadInputError, match="password is missing or wrong") as caught:
            load_signer(tmp_path, "targets", root, wrong)
        assert caught.value.exit_code == 4
    with pytest.raises(BadInputError, match="empty"):
        init_keys(tmp_path / "other", password=b"")


def test_keys_that_do_not_fit(tmp_path: Path) -> None:
    init_keys(tmp_path / "a", now=NOW)
    init_keys(tmp_path / "b", now=NOW)
    root, key = read_root(tmp_path / "a"), key_path(tmp_path / "a", "snapshot")
    key.write_bytes(key_path(tmp_path / "b", "snapshot").read_bytes())
    with pytest.raises(BadInputError, match="not the key that the root document names"):
        load_signer(tmp_path / "a", "snapshot", root, None)
    key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")
    with pytest.raises(BadInputError, match="cannot be opened"):
        load_signer(tmp_path / "a", "snapshot", root, None)
    key.unlink()
    with pytest.raises(NotFoundError, match="private key of the role snapshot is not at"):
        load_signer(tmp_path / "a", "snapshot", root, None)


def test_a_damaged_root_document(tmp_path: Path) -> None:
    init_keys(tmp_path, now=NOW)
    root_paths(tmp_path)[0].write_bytes(b"{}")
    with pytest.raises(BadInputError, match="damaged"):
        list_keys(tmp_path)


def test_renewal_keeps_the_keys_and_the_history(tmp_path: Path) -> None:
    first = init_keys(tmp_path, now=NOW)
    second = renew_root(tmp_path, now=NOW + timedelta(days=200))
    assert second.root_version == 2
    assert [path.name for path in root_paths(tmp_path)] == ["1.root.json", "2.root.json"]
    assert [key.keyid for key in second.keys] == [key.keyid for key in first.keys]
    assert second.expires > first.expires


def test_the_root_is_renewed_only_when_it_would_come_first(tmp_path: Path) -> None:
    init_keys(tmp_path, now=NOW)
    late = NOW + timedelta(days=300)
    assert root_until(tmp_path, late, now=NOW, password=None).version == 1
    assert root_until(tmp_path, late + timedelta(days=90), now=late, password=None).version == 2
    key_path(tmp_path, "root").unlink()
    assert root_until(tmp_path, late + timedelta(days=400), now=late, password=None).version == 2
    with pytest.raises(ExpiredError, match="expired on 2033-03-12") as caught:
        root_until(tmp_path, late, now=late + timedelta(days=400), password=None)
    assert "root.pem" in caught.value.next_step


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "trust").write_bytes(b"")
    with pytest.raises(StorageError):
        init_keys(tmp_path / "trust")
