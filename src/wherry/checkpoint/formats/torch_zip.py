"""The zip format of `torch.save` (torch 1.6 and later): one pickle stream, and one member for each storage."""

import re

from wherry.checkpoint.archive import Archive
from wherry.checkpoint.findings import Finding, FormatReport, Tier, UncleanError, damaged, forbidden
from wherry.checkpoint.parts import Part
from wherry.checkpoint.pickles import Stream, read_stream

NAME = "torch-zip"
_MEMBER = re.compile(
    r"data\.pkl|byteorder|version|\.data/serialization_id|\.format_version|\.storage_alignment|data/[0-9]+"
)


def matches(archive: Archive) -> bool:
    """Return whether the archive is one of `torch.save`."""
    return any(re.fullmatch(r"[^/]+/data\.pkl", name) for name in archive.members)


def read(archive: Archive, part: Part) -> FormatReport:
    """Read every member from its first byte to its last.

    Args:
        archive: the checked archive.
        part: the file that it is.
    """
    findings: list[Finding] = []
    needs: Tier = "tensors"
    try:
        root = root_of(archive)
        _check_members(archive, root)
        stream = follow(archive, part, f"{root}/data.pkl", findings)
        needs = stream.needs
        for name in archive.members:
            archive.verify(name)
        if not any(finding.kind == "forbidden" for finding in findings):
            _check_storages(archive, root, stream)
    except UncleanError as error:
        findings.append(error.finding)
    return FormatReport(format=NAME, findings=tuple(findings), needs=needs)


def root_of(archive: Archive) -> str:
    """Return the one folder that all members lie in.

    Raises:
        UncleanError: there is more than one.
    """
    roots = {name.partition("/")[0] for name in archive.members}
    if len(roots) != 1:
        raise forbidden("The archive has more than one folder at its top.", code="zip-member")
    return roots.pop()


def _check_members(archive: Archive, root: str) -> None:
    for name in archive.members:
        inner = name.removeprefix(f"{root}/")
        if not _MEMBER.fullmatch(inner):
            raise forbidden("The archive has a member that torch.save does not write.", where=name, code="zip-member")


def follow(archive: Archive, part: Part, name: str, findings: list[Finding]) -> Stream:
    """Follow the one stream that a member must be, to the member's last byte."""
    inner = archive.part(name, part)
    stream = read_stream(inner, where=inner.where, into=findings)
    if stream.end != inner.size:
        raise forbidden("More bytes follow the end of the pickle stream.", where=inner.where, code="pickle-tail")
    return stream


def _check_storages(archive: Archive, root: str, stream: Stream) -> None:
    for key, storage in stream.storages.items():
        member = archive.members.get(f"{root}/data/{key}")
        if member is None:
            msg = f"The bytes of storage {key!r} are missing."
            raise damaged(msg, code="torch-storage")
        if member.size != storage.size:
            msg = f"Storage {key!r} has {member.size} bytes, and its tensors need {storage.size}."
            raise damaged(msg, code="torch-storage")
    used = {f"{root}/data/{key}" for key in stream.storages}
    spare = [name for name in archive.members if name.startswith(f"{root}/data/") and name not in used]
    if spare:
        raise forbidden("The archive has a storage that no tensor uses.", where=spare[0], code="zip-member")
