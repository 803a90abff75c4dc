"""TorchScript: a program in a text that looks like Python, run by torch's own interpreter, and its weights.

The interpreter has no Python in it, but operators that read and write files, and custom classes from libraries. So the
text is read for the names of operators, and the streams are followed with the names that TorchScript gives to its own
classes. Layout: `torch/csrc/jit/docs/serialization.md`.
"""

import re

from wherry.checkpoint.archive import Archive
from wherry.checkpoint.findings import Finding, FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.formats.torch_zip import root_of
from wherry.checkpoint.parts import Part
from wherry.checkpoint.pickles import Reading, read_stream

NAME = "torchscript"
SCRIPT = Reading(script=True)
MAX_CODE = 32 << 20
_STREAM = re.compile(r"(data|constants|attributes|traced_inputs)\.pkl|.+\.debug_pkl")
_PLAIN = re.compile(
    r"(data|constants|attributes|traced_inputs)/[0-9]+|version|byteorder|\.data/.+|\.format_version|\.storage_alignment"
    r"|extra/.+|model\.json|debug_handles_.*"
)
_OPERATOR = re.compile(r"(?<![\w.])(?:ops\.(\w+)|torch)\.(\w+)(?=[\s(])")
_CLASS = re.compile(r"__torch__\.torch\.classes\.(\w+)")
_NAMESPACES = frozenset(
    {
        "aten",
        "prim",
        "prims",
        "quantized",
        "quantized_decomposed",
        "torchvision",
        "prepacked",
        "mkldnn",
        "mkl",
        "profiler",
    }
)
_CLASSES = frozenset({"quantized", "xnnpack", "mkldnn"})
_TOUCHES_FILES = frozenset({"from_file", "save", "load", "read_file", "write_file", "decode_image", "read_video"})
_KEYWORD = re.compile(r"^\s*(?:import\s+(?!__torch__)|from\s+(?!__torch__)\w+\s+import)|__builtins__|__globals__", re.M)


def matches(archive: Archive) -> bool:
    """Return whether the archive holds a program for the interpreter."""
    return any(re.fullmatch(r"[^/]+/code/.+", name) or name.endswith("/constants.pkl") for name in archive.members)


def read(archive: Archive, part: Part) -> FormatReport:
    """Read the program's text and every stream."""
    findings: list[Finding] = []
    if part.allow == "tensors":
        what = "It holds TorchScript code, not only weights."
        findings.append(Finding(kind="forbidden", where=part.where, what=what, code="torchscript"))
    try:
        root = root_of(archive)
        if not any(name == f"{root}/data.pkl" for name in archive.members):
            raise damaged("It holds no program: data.pkl is missing.", where=part.where, code="torchscript")
        for name in archive.members:
            _read_member(archive, part, name, name.removeprefix(f"{root}/"), findings)
    except UncleanError as error:
        findings.append(error.finding)
    return FormatReport(format=NAME, findings=tuple(findings), needs="modules")


def _read_member(archive: Archive, part: Part, name: str, inner: str, findings: list[Finding]) -> None:
    if inner.startswith("code/") and inner.endswith(".py"):
        archive.verify(name)
        _check_code(archive.read(name, MAX_CODE), name)
    elif _STREAM.fullmatch(inner):
        member = archive.part(name, part)
        stream = read_stream(member, where=member.where, into=findings, reading=SCRIPT)
        if stream.end != member.size:
            raise forbidden("More bytes follow the end of the pickle stream.", where=member.where, code="pickle-tail")
    elif _PLAIN.fullmatch(inner):
        archive.verify(name)
    else:
        raise forbidden("The archive has a member that torch.jit.save does not write.", where=name, code="zip-member")


def _check_code(raw: bytes, where: str) -> None:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise damaged("The program is not a text.", where=where, code="torchscript") from error
    for namespace, operator in _OPERATOR.findall(text):
        if operator in _TOUCHES_FILES or (namespace and namespace not in _NAMESPACES):
            msg = f"The program calls {namespace or 'torch'}.{operator}, which is no operator on tensors."
            raise forbidden(msg, where=where, code="torchscript-operator")
    for library in _CLASS.findall(text):
        if library not in _CLASSES:
            msg = f"The program makes objects of torch.classes.{library}, which are native code."
            raise forbidden(msg, where=where, code="torchscript-class")
    if _KEYWORD.search(text):
        raise forbidden("The program imports a module.", where=where, code="torchscript")
