"""What lies beside models: texts, pictures, JSON documents; and what may not lie there: machine code, odd packing."""

import re

from wherry.checkpoint.documents import MAX_JSON, parse
from wherry.checkpoint.findings import Finding, FormatReport, UncleanError, forbidden
from wherry.checkpoint.formats import coreml, keras
from wherry.checkpoint.parts import Part
from wherry.checkpoint.references import check_reference

TEXT, PICTURE, JSON, INDEX = "text", "picture", "json", "safetensors-index"
_NATIVE = (
    (b"\x7fELF", "an ELF library or program"),
    (b"\xca\xfe\xba\xbe", "a Mach-O library or a Java class"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O library or program"),
    (b"\xce\xfa\xed\xfe", "a Mach-O library or program"),
    (b"\xfe\xed\xfa\xcf", "a Mach-O library or program"),
    (b"\xfe\xed\xfa\xce", "a Mach-O library or program"),
    (b"!<arch>\n", "a library of object files"),
    (b"\x00asm", "WebAssembly"),
    (b"dex\n", "an Android program"),
)
_WINDOWS = "a Windows library or program"
_UNREADABLE = (
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"MSCF", "CAB"),
    (b"\x1f\x9d", "compress"),
)
_PICTURES = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|II\*\x00|MM\x00\*|\x00\x00\x01\x00|%PDF-", re.S
)
_SCRIPT = re.compile(rb"#!|(?:^|\n)(?:import|from)[ \t]+[A-Za-z_][\w.]*(?:[ \t]+(?:import|as)\b|[ \t]*[\r\n,;]|$)")
_SAMPLE = 1 << 16


def native(head: bytes) -> str:
    """Return what machine code the file is, empty if it is none."""
    for magic, what in _NATIVE:
        if head.startswith(magic):
            return what
    return _WINDOWS if head.startswith(b"MZ") and _is_windows(head) else ""


def _is_windows(head: bytes) -> bool:
    """Return whether the old header leads to a new one, or is too far from it to tell."""
    at = int.from_bytes(head[60:64], "little")
    return at + 4 > len(head) or head[at : at + 2] in (b"PE", b"NE", b"LE")


def read_native(part: Part, what: str) -> FormatReport:
    """Refuse machine code."""
    finding = Finding(kind="forbidden", where=part.where, what=f"It is {what}: machine code.", code="native-code")
    return FormatReport(format="native", findings=(finding,))


def packing(head: bytes) -> str:
    """Return the name of a packing that cannot be looked into, empty if it is none."""
    return next((name for magic, name in _UNREADABLE if head.startswith(magic)), "")


def read_packing(part: Part, name: str) -> FormatReport:
    """Refuse what cannot be looked into."""
    what = f"It is packed with {name}, which the scan does not look into."
    return FormatReport(
        format="packed", findings=(Finding(kind="forbidden", where=part.where, what=what, code="packed"),)
    )


def is_picture(head: bytes) -> bool:
    """Return whether the file says that it is a picture."""
    return _PICTURES.match(head) is not None


def is_text(part: Part) -> bool:
    """Return whether the first 64 KiB and the last are text without control characters."""
    for start in {0, max(0, part.size - _SAMPLE)}:
        raw = part.at(start, min(_SAMPLE, part.size - start))
        if re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", raw):
            return False
        text = raw[4:-4].decode("utf-8", "replace") if len(raw) > 8 else raw.decode("utf-8", "replace")
        if text.count("�") > 3 + len(text) // 1000:
            return False
    return True


def read_text(part: Part) -> FormatReport:
    """Tell JSON documents that name other files from texts, and scripts from other texts."""
    head = part.head(_SAMPLE)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") and part.size <= MAX_JSON:
        try:
            return _read_json(part)
        except UncleanError as error:
            if error.finding.kind == "forbidden":
                return FormatReport(format=JSON, findings=(error.finding,))
    findings: tuple[Finding, ...] = ()
    if _SCRIPT.search(head):
        what = "It is a program's text; whoever opens the model may run it."
        findings = (Finding(kind="warning", where=part.where, what=what, code="script"),)
    return FormatReport(format=TEXT, findings=findings, model=False)


def _read_json(part: Part) -> FormatReport:
    document = parse(part.whole(MAX_JSON), part.where)
    if coreml.manifest_matches(document):
        return coreml.read_manifest(part, document)
    if keras.config_matches(document):
        return keras.read_config(part, document)
    if isinstance(document, dict) and isinstance(document.get("weight_map"), dict):
        return _read_index(part, document["weight_map"])
    findings: tuple[Finding, ...] = ()
    if isinstance(document, dict) and ("auto_map" in document or "custom_pipelines" in document):
        what = "It names code of its own beside the model, which a hub's loader runs if it is told to trust it."
        findings = (Finding(kind="warning", where=part.where, what=what, code="auto-map"),)
    return FormatReport(format=JSON, findings=findings, model=False)


def _read_index(part: Part, table: dict[str, object]) -> FormatReport:
    for name in {str(name) for name in table.values()}:
        check_reference(name, part)
        if name.startswith("."):
            raise forbidden("A shard has a hidden name.", where=part.where, code="outside-path")
    return FormatReport(format=INDEX, model=True)
