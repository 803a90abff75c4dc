"""What a model is packed in: archives in archives, compressed files, bombs, links and tails."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.checkpoint import assemble as a
from wherry.checkpoint.findings import UncleanError
from wherry.checkpoint.parts import Budget
from wherry.checkpoint.scan import scan

EVIL = a.proto() + a.name("posix", "system") + a.text("x") + a.TUPLE1 + a.REDUCE + a.STOP
EVIL_ZIP = a.torch_zip(EVIL)
GOOD = a.torch_zip(a.state_dict(a.tensor()))


def tar(members: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] | None = None, kind: int = 1) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if change is not None:
                change(info)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def link(info: tarfile.TarInfo) -> None:
    info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0


def hard(info: tarfile.TarInfo) -> None:
    info.type, info.linkname, info.size = tarfile.LNKTYPE, "../x", 0


def device(info: tarfile.TarInfo) -> None:
    info.type, info.size = tarfile.CHRTYPE, 0


def twice(info: tarfile.TarInfo) -> None:
    info.name = "x"


def layers(whole: bytes, count: int) -> bytes:
    for _ in range(count):
        whole = a.archive({"x": whole}, zipfile.ZIP_DEFLATED)
    return whole


OLD_TORCH = {"sys_info": a.proto() + a.EMPTY_DICT + a.STOP, "pickle": EVIL, "tensors": a.proto(), "storages": b"x"}
PACKERS = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zip, stored": lambda data: a.archive({"weights/x": data}),
    "zip, packed": lambda data: a.archive({"weights/x": data}, zipfile.ZIP_DEFLATED),
    "tar": lambda data: tar({"x": data}),
    "tar of old": lambda data: tar({"x": data}, kind=tarfile.USTAR_FORMAT),
    "tar of long names": lambda data: tar({"x" * 180: data}, kind=tarfile.PAX_FORMAT),
    "tar in gzip": lambda data: gzip.compress(tar({"x": data})),
    "zip in zip": lambda data: layers(data, 2),
    "two layers of gzip": lambda data: gzip.compress(gzip.compress(data)),
    "gzip of two parts": lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]),
}


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS.keys())
@pytest.mark.parametrize("evil", [EVIL, EVIL_ZIP, a.legacy(EVIL)], ids=["raw", "zip", "legacy"])
def test_what_is_packed_is_looked_into(pack: Callable[[bytes], bytes], evil: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(pack(evil))

    report = scan(path, allow="modules")

    assert "posix.system" in " ".join(map(str, report.findings)), report
    assert report.forbidden


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS.keys())
def test_what_is_packed_and_good_is_clean(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(pack(GOOD))
    report = scan(path)
    assert report.clean, report
    assert report.needs == "tensors"


ELF = b"\x7fELF\x02\x01\x01" + bytes(100)
PE = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0" + bytes(100)
REFUSED: dict[str, tuple[bytes, str]] = {
    "a library": (ELF, "native-code"),
    "a Windows library": (PE, "native-code"),
    "a Mach-O library": (b"\xcf\xfa\xed\xfe" + bytes(100), "native-code"),
    "a library in a zip": (a.archive({"lib": ELF, "model": GOOD}), "native-code"),
    "a library in a tar": (tar({"lib": ELF, "model": GOOD}), "native-code"),
    "too many layers": (layers(GOOD, 8), "expansion"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(50), "packed"),
    "lz4": (b"\x04\x22\x4d\x18" + bytes(50), "packed"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c" + bytes(50), "packed"),
    "a bomb": (gzip.compress(bytes(32 << 20)), "expansion"),
    "a bomb in xz": (lzma.compress(bytes(32 << 20), preset=0), "expansion"),
    "a bomb in zip": (a.archive({"x": bytes(32 << 20)}, zipfile.ZIP_DEFLATED), "expansion"),
    "a truncated gzip": (gzip.compress(GOOD)[:-9], "truncated"),
    "bytes behind zlib": (zlib.compress(GOOD) + b"x", "packed-tail"),
    "bytes behind gzip": (gzip.compress(GOOD) + EVIL, "packed"),
    "a link in a tar": (tar({"x": b""}, link), "tar-kind"),
    "a hard link in a tar": (tar({"x": b""}, hard), "tar-kind"),
    "a device in a tar": (tar({"x": b""}, device), "tar-kind"),
    "a path above in a tar": (tar({"../x": GOOD}), "tar-path"),
    "a path at the root in a tar": (tar({"/x": GOOD}), "tar-path"),
    "a name twice in a tar": (tar({"a": GOOD, "b": GOOD}, twice), "tar-duplicate"),
    "bytes behind a tar": (tar({"x": GOOD}) + EVIL, "tar-tail"),
    "a truncated tar": (tar({"x": GOOD})[: 512 + len(GOOD) // 2], "truncated"),
    "a length that a tar overrides": (
        tar({"x": GOOD}, lambda info: info.pax_headers.update({"size": "1"}), tarfile.PAX_FORMAT),
        "tar",
    ),
    "a script in place of a member": (a.archive({"../x": GOOD}), "zip-path"),
    "a name twice in a zip": (a.archive({"X": GOOD, "x": GOOD}), "zip-duplicate"),
    "a library of object files": (b"!<arch>\n" + bytes(70), "native-code"),
    "a checkpoint of torch before 0.1.10": (tar(OLD_TORCH), "pickle-name"),
}


@pytest.mark.parametrize(("whole", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_trusted_or_read_is_refused(whole: bytes, code: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(whole)

    report = scan(path, allow="modules")

    assert report.verdict == "refused"
    assert code in {finding.code for finding in report.findings}, report


def test_a_file_of_many_parts_is_cut_off() -> None:
    with ExitStack() as opened:
        budget = Budget(unpacked=10, opened=opened, parts=1)
        budget.part()
        with pytest.raises(UncleanError, match="more files"):
            budget.part()
        budget.spend(10)
        with pytest.raises(UncleanError, match="hundred times"):
            budget.spend(1)


def test_an_archive_of_texts_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(a.archive({"a/b.txt": b"hello"}))
    assert [finding.code for finding in scan(path).findings] == ["not-a-model"]
