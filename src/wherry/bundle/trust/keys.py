"""The publisher's keys: one ed25519 key for each TUF role, and the root document that is pinned on devices.

`keys/<role>.pem` are private (PKCS 8, mode 0600) and stay here; `metadata/<n>.root.json` is public. The four roles have
keys of their own so that root and targets can be moved offline later without anything changing on a device.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from wherry.core.errors import BadInputError, ExpiredError, NotFoundError, RefusedError
from wherry.durable import atomic_write, storage_errors, writing

ROLES = ("root", "targets", "snapshot", "timestamp")
ROOT_DAYS = 365
_ROOT_FILE = re.compile(r"([1-9][0-9]*)\.root\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """One role's key."""

    role: str
    keyid: str
    scheme: str
    path: Path
    """Where the private key is, or was before it was moved away."""
    expires: str
    """Until when the root document that names the key is valid, ISO 8601 UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySummary:
    """What `init_keys` or `renew_root` made."""

    folder: Path
    root: Path
    """The document to pin on devices; it is public."""
    root_version: int
    expires: str
    keys: tuple[KeyInfo, ...]


def init_keys(folder: Path, *, now: datetime | None = None, password: bytes | None = None) -> KeySummary:
    """Make a key for each role and the first root document, valid for a year.

    Args:
        folder: the publisher's trust folder.
        now: present time; the clock's by default.
        password: encrypts the private keys if given.

    Raises:
        RefusedError: there are keys already; they are not touched.
        BadInputError: the password is empty.
        StorageError: the folder cannot be written.
    """
    _refuse_existing(folder)
    if password == b"":
        msg = "The password for the keys is empty."
        raise BadInputError(msg, next_step="Give a password, or none at all to keep the keys unencrypted.")
    signers = {role: CryptoSigner(Ed25519PrivateKey.generate()) for role in ROLES}
    root = Root(expires=_in_days(now, ROOT_DAYS), consistent_snapshot=True)
    for role, signer in signers.items():
        root.add_key(signer.public_key, role)
        _write_private(key_path(folder, role), signer, password)
    _write_root(folder, root, signers["root"])  # last: without it the keys have never been used
    return _summary(folder)


def renew_root(folder: Path, *, now: datetime | None = None, password: bytes | None = None) -> KeySummary:
    """Make the next version of the root document with the same keys, valid for another year. Devices follow it.

    Raises:
        NotFoundError: there are no keys, or the root key was moved away.
        BadInputError: the key cannot be opened.
        StorageError: the folder cannot be written.
    """
    root = read_root(folder)
    root.version += 1
    root.expires = _in_days(now, ROOT_DAYS)
    _write_root(folder, root, load_signer(folder, "root", root, password))
    return _summary(folder)


def list_keys(folder: Path) -> list[KeyInfo]:
    """Return the roles' keys in the order of `ROLES`.

    Raises:
        NotFoundError: there are none.
        BadInputError: the root document cannot be read.
    """
    root = read_root(folder)
    found = []
    for role in ROLES:
        for keyid in root.roles[role].keyids:
            scheme = root.keys[keyid].scheme
            info = KeyInfo(
                role=role, keyid=keyid, scheme=scheme, path=key_path(folder, role), expires=root.expires.isoformat()
            )
            found.append(info)
    return found


def root_bytes(folder: Path) -> bytes:
    """Return the newest root document: what is pinned on a device.

    Raises:
        NotFoundError: there is none.
    """
    path = root_paths(folder)[-1]
    with storage_errors(path):
        return path.read_bytes()


def root_paths(folder: Path) -> list[Path]:
    """Return every version of the root document, oldest first.

    Raises:
        NotFoundError: there is none.
    """
    found = _root_versions(folder)
    if not found:
        msg = f"There are no keys in {folder}."
        raise NotFoundError(msg, next_step="Make them with `wherry keys init`.")
    return [found[version] for version in sorted(found)]


def read_root(folder: Path) -> Root:
    """Return the newest root document, parsed.

    Raises:
        NotFoundError: there is none.
        BadInputError: it cannot be read.
    """
    try:
        return Metadata[Root].from_bytes(root_bytes(folder)).signed
    except (DeserializationError, ValueError) as error:
        msg = f"{root_paths(folder)[-1]} is damaged."
        raise BadInputError(msg, next_step="Restore the trust folder from its backup.") from error


def root_until(folder: Path, until: datetime, *, now: datetime, password: bytes | None) -> Root:
    """Return the newest root document, renewed first if it would expire before `until` and its key is here.

    Raises:
        NotFoundError: there are no keys.
        BadInputError: the root key cannot be opened.
        ExpiredError: the root document has expired and its key was moved away.
        StorageError: the folder cannot be written.
    """
    root = read_root(folder)
    key = key_path(folder, "root")
    if root.is_expired(until) and key.is_file():
        renew_root(folder, now=now, password=password)
        return read_root(folder)
    if root.is_expired(now):
        msg = f"The root document in {folder} expired on {root.expires:%Y-%m-%d}, and its key is not here to renew it."
        raise ExpiredError(msg, next_step=f"Put {key} back and sign again; devices follow by themselves.")
    return root


def load_signer(folder: Path, role: str, root: Root, password: bytes | None) -> CryptoSigner:
    """Return what signs for `role`.

    Raises:
        NotFoundError: its private key is not here.
        BadInputError: it cannot be opened, or is not the key that the root document names.
    """
    path = key_path(folder, role)
    if not path.is_file():
        msg = f"The private key of the role {role} is not at {path}."
        raise NotFoundError(msg, next_step="Put it back from where it is kept, for the time of signing.")
    with storage_errors(path):
        data = path.read_bytes()
    try:
        key = load_pem_private_key(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        msg = f"{path} cannot be opened: it is damaged, or the password is missing or wrong."
        raise BadInputError(msg, next_step="Give the password that the keys were made with.") from error
    signer = CryptoSigner(key) if isinstance(key, Ed25519PrivateKey) else None
    if signer is None or signer.public_key.keyid not in root.roles[role].keyids:
        msg = f"{path} is not the key that the root document names for the role {role}."
        raise BadInputError(msg, next_step="Restore the trust folder from its backup.")
    return signer


def key_path(folder: Path, role: str) -> Path:
    """Return where the private key of `role` is kept."""
    return folder / "keys" / f"{role}.pem"


def metadata_folder(folder: Path) -> Path:
    """Return where the public documents are."""
    return folder / "metadata"


def _refuse_existing(folder: Path) -> None:
    if _root_versions(folder):
        msg = f"There are keys in {folder} already; new ones would cut off every device that trusts them."
        raise RefusedError(msg, next_step="Use them, or choose another folder for another publisher.")


def _root_versions(folder: Path) -> dict[int, Path]:
    metadata = metadata_folder(folder)
    with storage_errors(metadata):
        names = list(metadata.iterdir()) if metadata.is_dir() else []
    matches = [(path, _ROOT_FILE.fullmatch(path.name)) for path in names]
    return {int(match[1]): path for path, match in matches if match}


def _write_private(path: Path, signer: CryptoSigner, password: bytes | None) -> None:
    data = signer.private_bytes
    if password is not None:
        protection = BestAvailableEncryption(password)
        data = load_pem_private_key(data, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
    with storage_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with writing(path, mode=0o600) as file:
        file.write(data)


def _write_root(folder: Path, root: Root, signer: CryptoSigner) -> None:
    document = Metadata(root)
    document.sign(signer)
    atomic_write(metadata_folder(folder) / f"{root.version}.root.json", document.to_bytes())


def _summary(folder: Path) -> KeySummary:
    root = read_root(folder)
    return KeySummary(
        folder=folder,
        root=root_paths(folder)[-1],
        root_version=root.version,
        expires=root.expires.isoformat(),
        keys=tuple(list_keys(folder)),
    )


def _in_days(now: datetime | None, days: int) -> datetime:
    return ((now or datetime.now(UTC)).astimezone(UTC) + timedelta(days=days)).replace(microsecond=0)
