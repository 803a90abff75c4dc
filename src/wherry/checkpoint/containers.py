"""Looks into what files are packed in: zip, tar, and single compressed files. What lies inside is scanned as a file."""

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from wherry.checkpoint.archive import Archive
from wherry.checkpoint.findings import MAX_FINDINGS, Finding, FormatReport, Tier, UncleanError, damaged, forbidden
from wherry.checkpoint.parts import CHUNK, Part, Window, spill

Read = Callable[[Part], FormatReport]
_BLOCK = 512
_MAX_NAME = 1 << 16
_FILE, _FOLDER, _LONG_NAME, _PAX, _PAX_GLOBAL = b"0\x00", b"5", b"L", b"x", b"g"


class _Unpacker(Protocol):
    eof: bool
    unused_data: bytes


def read_zip(archive: Archive, part: Part, read: Read) -> FormatReport:
    """Scan every member of an archive that is no model of its own."""
    names = [name for name in archive.members if not archive.is_folder(name)]
    return _together("zip", part, ((name, archive.part(name, part)) for name in names), read)


def is_tar(part: Part) -> bool:
    """Return whether the file begins with the header of a tar member, with or without the word `ustar`."""
    if part.size < _BLOCK:
        return False
    head = part.at(0, _BLOCK)
    return head[257:262] == b"ustar" or (head[:1] > b"\x20" and _sum_fits(head))


def read_tar(part: Part, read: Read) -> FormatReport:
    """Scan every member of a tar archive; links and devices are refused."""
    return _together("tar", part, _tar_members(part), read)


def unpacker(head: bytes) -> str:
    """Return how a single file is compressed, empty if it is not."""
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    if re.match(rb"\x5d\x00\x00.{2}(\xff{8}|.{3}\x00{5})", head, re.S):
        return "lzma"
    if len(head) > 2 and head[0] & 0x0F == 8 and head[0] >> 4 <= 7 and int.from_bytes(head[:2], "big") % 31 == 0:
        return "zlib"
    return ""


def read_packed(part: Part, kind: str, read: Read) -> FormatReport:
    """Unpack a compressed file and scan what is in it."""
    try:
        file, size = spill(_unpacked(part, kind), part.budget)
        inner = part.inner(file, size, "", inside=part.inside)
    except UncleanError as error:
        return FormatReport(format=kind, findings=(replace(error.finding, where=error.finding.where or part.where),))
    found = read(replace(inner, where=part.where))
    name = found.format if found.format in ("joblib", "sklearn", "pickle") else f"{kind}/{found.format}"
    return replace(found, format=name)


def _unpacked(part: Part, kind: str) -> Iterator[bytes]:
    """Yield the content of every stream of the file, to its last byte."""
    position = 0
    while position < part.size:
        machine = _machine(kind)
        try:
            for piece, end in _stream(part, machine, position):
                yield piece
                position = end
        except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError) as error:
            raise damaged(f"It does not unpack as {kind}.", where=part.where, code="packed") from error
        if not machine.eof:
            raise damaged(
                "It ends before what is packed in it: the file is truncated.", where=part.where, code="truncated"
            )
        if kind in ("zlib", "lzma") and position < part.size:
            raise forbidden("More bytes follow what is packed in it.", where=part.where, code="packed-tail")


def _machine(kind: str) -> "zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor":
    if kind in ("gzip", "zlib"):
        return zlib.decompressobj(31 if kind == "gzip" else 15)
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    return lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=128 << 20)


def _stream(
    part: Part, machine: "zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor", position: int
) -> Iterator[tuple[bytes, int]]:
    """Yield pieces of one stream, each with where the next byte of the file lies."""
    raw = b""
    while not machine.eof:
        needs = isinstance(machine, bz2.BZ2Decompressor | lzma.LZMADecompressor) and not machine.needs_input
        if not needs and not raw:
            raw = part.at(position, min(CHUNK, part.size - position))
            position += len(raw)
            if not raw:
                return
        piece = machine.decompress(raw, CHUNK)
        raw = b"" if isinstance(machine, bz2.BZ2Decompressor | lzma.LZMADecompressor) else machine.unconsumed_tail
        yield piece, position - len(machine.unused_data)


def _together(kind: str, part: Part, members: Iterator[tuple[str, Part]], read: Read) -> FormatReport:
    findings: list[Finding] = []
    formats: set[str] = set()
    needs: Tier = "tensors"
    unread: dict[str, Finding] = {}
    references: set[str] = set()
    try:
        for name, member in members:
            found = read(replace(member, name=name.rpartition("/")[2]))
            folder = name.rpartition("/")[0]
            references.update(f"{folder}/{item}".lstrip("/") for item in found.references)
            if found.format == "unknown" and all(finding.code == "not-a-model" for finding in found.findings):
                unread[name] = found.findings[0]
                continue
            formats |= {found.format} if found.model else set()
            needs = "modules" if found.needs == "modules" else needs
            findings.extend(found.findings[: max(0, MAX_FINDINGS - len(findings))])
    except UncleanError as error:
        findings.append(replace(error.finding, where=error.finding.where or part.where))
    findings.extend(finding for name, finding in unread.items() if name not in references)
    if not formats and not findings and not part.inside:
        what = f"It is a {kind} archive, but holds no model of a known format."
        findings.append(Finding(kind="damaged", where=part.where, what=what, code="not-a-model"))
    name = "numpy" if formats == {"numpy"} else kind
    return FormatReport(format=name, findings=tuple(findings[:MAX_FINDINGS]), needs=needs, model=bool(formats))


def _tar_members(part: Part) -> Iterator[tuple[str, Part]]:
    position, long_name = 0, ""
    seen: set[str] = set()
    while position + _BLOCK <= part.size:
        head = part.at(position, _BLOCK)
        if not any(head):
            _check_tar_end(part, position)
            return
        name, size, kind = _tar_header(head, part.where)
        start = position + _BLOCK
        position = start + (size + _BLOCK - 1) // _BLOCK * _BLOCK
        if start + size > part.size:
            raise damaged(
                "It ends in the middle of a member: the file is truncated.", where=part.where, code="truncated"
            )
        if kind in (_LONG_NAME, _PAX, _PAX_GLOBAL):
            long_name = _long_name(part, start, size, kind) or long_name
            continue
        name, long_name = long_name or name, ""
        if kind == _FOLDER:
            continue
        if kind not in (b"0", b"\x00"):
            raise forbidden("It is a link or a device.", where=name[:80], code="tar-kind")
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\\" in name:
            raise forbidden("A member's name is not a plain relative path.", where=name[:80], code="tar-path")
        if name in seen:
            raise forbidden("The archive has two members of one name.", where=name[:80], code="tar-duplicate")
        seen.add(name)
        yield name, part.inner(Window(part.file, start, size), size, name)
    if position != part.size:
        raise damaged("It ends in the middle of a header: the file is truncated.", where=part.where, code="truncated")


def _tar_header(head: bytes, where: str) -> tuple[str, int, bytes]:
    if not _sum_fits(head):
        raise damaged("A header of the tar archive has a wrong checksum.", where=where, code="tar")
    raw = head[124:136]
    text = raw.strip(b"\x00 ")
    if raw[0] & 0x80 or not re.fullmatch(rb"[0-7]{0,12}", text):
        raise forbidden("A member's length is not written as tar does.", where=where, code="tar")
    name = head[:100].rstrip(b"\x00").decode("utf-8", "backslashreplace")
    prefix = head[345:500].rstrip(b"\x00").decode("utf-8", "backslashreplace") if head[257:263] == b"ustar\x00" else ""
    return f"{prefix}/{name}" if prefix else name, int(text or b"0", 8), head[156:157]


def _sum_fits(head: bytes) -> bool:
    text = head[148:156].strip(b"\x00 ")
    if not re.fullmatch(rb"[0-7]{1,8}", text):
        return False
    return sum(head[:148]) + 8 * 0x20 + sum(head[156:]) == int(text, 8)


def _long_name(part: Part, start: int, size: int, kind: bytes) -> str:
    if size > _MAX_NAME:
        raise forbidden("A member's name is longer than any path.", where=part.where, code="tar-path")
    raw = part.at(start, size)
    if kind == _LONG_NAME:
        return raw.rstrip(b"\x00").decode("utf-8", "backslashreplace")
    if re.search(rb"\d+ (size|linkpath|GNU\.sparse[\w.]*)=", raw):
        raise forbidden("A member's header overrides its length.", where=part.where, code="tar")
    found = re.search(rb"\d+ path=([^\n]*)\n", raw)
    return found[1].decode("utf-8", "backslashreplace") if found and kind == _PAX else ""


def _check_tar_end(part: Part, position: int) -> None:
    part.file.seek(position)
    while piece := part.file.read(CHUNK):
        if piece.strip(b"\x00"):
            raise forbidden("More bytes follow the end of the tar archive.", where=part.where, code="tar-tail")
