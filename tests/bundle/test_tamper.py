"""One flipped byte, one missing tail: the device refuses, or installs exactly what was signed."""

import random
import zipfile
from pathlib import Path

import pytest

from tests.bundle.publishers import NOW, Publisher, everything
from wherry.bundle.container import ZipBundle
from wherry.bundle.layout import blobs
from wherry.bundle.release import write_release
from wherry.bundle.trust.sign import SignedBundle
from wherry.bundle.trust.verify import commit_highwater, verify
from wherry.bundle.unpack import fetch_blobs
from wherry.core.errors import TrustError

pytestmark = pytest.mark.slow


def installed(path: Path, root: bytes, device: Path) -> dict[str, bytes]:
    """Carry a bundle the whole way and return every byte of the release."""
    with verify(path, device / "trust", root=root, now=NOW) as trusted:
        fetch_blobs(trusted, blobs(trusted.manifest), device / "store")
        folder = device / "release"
        data = trusted.manifest_bytes
        write_release(data, trusted.manifest, "null-fp32", device / "store", folder, device="cpu")
        commit_highwater(trusted, device / "trust")
    return everything(folder)


@pytest.fixture
def signed(publisher: Publisher) -> SignedBundle:
    return publisher.signed(1)


def positions(path: Path) -> list[int]:
    """Every member's first, last and some middle bytes, its header's bytes, and the directory's."""
    chance = random.Random(20)
    with ZipBundle(path) as reader:
        members = [reader._members[name] for name in reader.names()]
    chosen = set(range(members[-1].end, path.stat().st_size, 5))
    for member in members:
        chosen.update(range(member.offset, member.data_offset, 7))
        chosen.update({member.data_offset, member.end - 1})
        chosen.update(chance.sample(range(member.data_offset, member.end), min(member.size, 12)))
    return sorted(chosen)


def outcome(path: Path, root: bytes, device: Path) -> dict[str, bytes] | TrustError:
    """Return what was installed, or the refusal if it left nothing behind."""
    try:
        return installed(path, root, device)
    except TrustError as error:
        return everything(device / "release") or error


def test_one_flipped_byte(publisher: Publisher, signed: SignedBundle, tmp_path: Path) -> None:
    good = installed(signed.path, publisher.root, tmp_path / "good")
    data, root, bad = signed.path.read_bytes(), publisher.root, tmp_path / "bad.zip"
    refused, unaffected = 0, []
    for number, position in enumerate(positions(signed.path)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << (number % 8)
        bad.write_bytes(flipped)
        result = outcome(bad, root, tmp_path / f"device{number}")
        if isinstance(result, TrustError):
            refused += 1
        else:
            assert result == good
            unaffected.append(position)
    assert refused > 500
    assert _members_of(signed.path, unaffected) <= {"tuf/metadata/1.root.json", "tuf/metadata/timestamp.json"}


def _members_of(path: Path, chosen: list[int]) -> set[str]:
    """The pinned root is not read from the bundle, and a signature's hex digits may be written in two cases."""
    with ZipBundle(path) as reader:
        members = [reader._members[name] for name in reader.names()]
    return {member.name for member in members for position in chosen if member.offset <= position < member.end}


def test_truncated_at_many_lengths(publisher: Publisher, signed: SignedBundle, tmp_path: Path) -> None:
    data, bad = signed.path.read_bytes(), tmp_path / "bad.zip"
    for length in [*range(0, len(data), 37), *range(len(data) - 120, len(data))]:
        bad.write_bytes(data[:length])
        with pytest.raises(TrustError):
            verify(bad, tmp_path / "trust", root=publisher.root, now=NOW)
    assert everything(tmp_path / "trust") == {}


def test_one_flipped_byte_in_an_unpacked_folder(publisher: Publisher, signed: SignedBundle, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with zipfile.ZipFile(signed.path) as archive:
        archive.extractall(folder)
    good = installed(folder, publisher.root, tmp_path / "good")
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        result = outcome(folder, publisher.root, tmp_path / f"device{number}")
        assert isinstance(result, TrustError) or (result == good and path.name == "1.root.json")
        path.write_bytes(data)
    assert installed(folder, publisher.root, tmp_path / "again") == good
