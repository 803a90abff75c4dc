"""OpenVINO IR: a graph in XML, with its numbers in a `.bin` file of the same name.

Element names: https://docs.openvino.ai/ ("Operation Sets", "Intermediate Representation").
"""

import re
from collections.abc import Mapping
from pathlib import PurePath
from xml.parsers import expat

from wherry.checkpoint.findings import FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.parts import CHUNK, Part

NAME = "openvino"
_OPSET = re.compile(r"opset[0-9]{1,3}|ie_internal_opset|type_relaxed_opset|internal|gpu_opset|util|experimental|")
MAX_ELEMENTS = 5_000_000
_MAX_DEPTH = 200


def is_xml(head: bytes) -> bool:
    """Return whether the text is XML."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<?xml", b"<!DOCTYPE", b"<net", b"<!--", b"<!ENTITY"))


def read(part: Part) -> FormatReport:
    """Parse the document to its end; entities and document types are refused in every XML file."""
    walk = _Walk(part)
    try:
        walk.follow()
    except UncleanError as error:
        return FormatReport(format=NAME if walk.root in ("", "net") else "xml", findings=(error.finding,))
    if walk.root != "net":
        return FormatReport(format="xml", model=False)
    stem = PurePath(part.name or part.where).stem
    return FormatReport(format=NAME, references=(f"{stem}.bin",))


class _Walk:
    """One pass of the parser."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.root = ""
        self._count = self._depth = 0

    def follow(self) -> None:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        self.part.file.seek(0)
        try:
            while piece := self.part.file.read(CHUNK):
                parser.Parse(piece, False)
            parser.Parse(b"", True)
        except (expat.ExpatError, ValueError, LookupError) as error:
            msg = f"It is not XML: {str(error)[:80]}."
            raise damaged(msg, where=self.part.where, code="xml") from error

    def _doctype(self, *_: object) -> None:
        raise forbidden("It declares a document type or entities.", where=self.part.where, code="xml-entity")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self.root = self.root or name
        self._count += 1
        self._depth += 1
        if self._count > MAX_ELEMENTS or self._depth > _MAX_DEPTH:
            raise forbidden("It has more elements than any network.", where=self.part.where, code="xml-limit")
        if self.root != "net":
            return
        version = attributes.get("version", "")
        if name == "layer" and not _OPSET.fullmatch(version):
            kind = f"{version[:40]}.{attributes.get('type', '')[:40]}"
            msg = f"Its graph has the operation {kind}, which comes from a library."
            raise forbidden(msg, where=self.part.where, code="openvino-custom")

    def _end(self, _: str) -> None:
        self._depth -= 1
