"""The zip format of `torch.save` (torch 1.6 and later): one pickle stream, and one member for each storage."""

import re

from wherry.checkpoint.archive import Archive
from wherry.checkpoint.findings import Finding, FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.pickles import Stream, read_stream

NAME = "torch-zip"
MAX_PICKLE = 64 << 20
_MEMBER = re.compile(
    r"data\.pkl|byteorder|version|\.data/serialization_id|\.format_version|\.storage_alignment|data/[0-9]+"
)


def matches(archive: Archive) -> bool:
    """Return whether the archive is one of `torch.save`."""
    return any(re.fullmatch(r"[^/]+/data\.pkl", name) for name in archive.members)


def read(archive: Archive, *, where: str = "") -> FormatReport:
    """Read every member from its first byte to its last.

    Args:
        archive: the checked archive.
        where: name of the archive, when it lies inside another one.
    """
    findings: list[Finding] = []
    try:
        root = root_of(archive)
        _check_members(archive, root, where)
        stream = _follow(archive, root, where, findings)
        for name in archive.members:
            archive.verify(name)
        if not any(finding.kind == "forbidden" for finding in findings):
            _check_storages(archive, root, stream)
    except UncleanError as error:
        findings.append(error.finding)
    return FormatReport(format=NAME, findings=tuple(findings))


def root_of(archive: Archive) -> str:
    """Return the one folder that all members lie in.

    Raises:
        UncleanError: there is more than one.
    """
    roots = {name.partition("/")[0] for name in archive.members}
    if len(roots) != 1:
        raise forbidden("The archive has more than one folder at its top.")
    return roots.pop()


def _check_members(archive: Archive, root: str, where: str) -> None:
    for name in archive.members:
        inner = name.removeprefix(f"{root}/")
        if inner.startswith("code/"):
            raise forbidden("It holds TorchScript code, not only weights.", where=where or name)
        if not _MEMBER.fullmatch(inner):
            raise forbidden("The archive has a member that torch.save does not write.", where=name)


def _follow(archive: Archive, root: str, where: str, findings: list[Finding]) -> Stream:
    name = f"{root}/data.pkl"
    data = archive.read(name, MAX_PICKLE)
    place = f"{where}/{name}" if where else name
    stream = read_stream(data, where=place, into=findings)
    if stream.end != len(data):
        raise forbidden("More bytes follow the end of the pickle stream.", where=place)
    return stream


def _check_storages(archive: Archive, root: str, stream: Stream) -> None:
    for key, storage in stream.storages.items():
        member = archive.members.get(f"{root}/data/{key}")
        if member is None:
            msg = f"The bytes of storage {key!r} are missing."
            raise damaged(msg)
        if member.size != storage.size:
            msg = f"Storage {key!r} has {member.size} bytes, and its tensors need {storage.size}."
            raise damaged(msg)
    used = {f"{root}/data/{key}" for key in stream.storages}
    spare = [name for name in archive.members if name.startswith(f"{root}/data/") and name not in used]
    if spare:
        raise forbidden("The archive has a storage that no tensor uses.", where=spare[0])
