"""TFLite: a FlatBuffer; what is not built into the runtime is a custom operator, and comes from a library.

Field numbers: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs (Apache-2.0).
"""

from wherry.checkpoint.findings import Finding, FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.flatbuffer import root
from wherry.checkpoint.formats.tensorflow import ACTS
from wherry.checkpoint.parts import Part

NAME = "tflite"
_CODES, _SUBGRAPHS, _BUFFERS = 1, 2, 4
_CUSTOM = 32
_HARMLESS = frozenset(
    {"TFLite_Detection_PostProcess", "MaxPoolingWithArgmax2D", "MaxUnpooling2D", "Convolution2DTransposeBias"}
)
"""Custom operators that the runtime itself brings."""


def matches(head: bytes) -> bool:
    """Return whether the file says that it is one."""
    return head[4:8] == b"TFL3"


def read(part: Part) -> FormatReport:
    """Look at every operator, and at where its buffers lie."""
    findings: list[Finding] = []
    try:
        model = root(part)
        for code in model.tables(_CODES):
            builtin = max(code.number(0, 1, signed=True), code.number(3, 4, signed=True))
            if builtin == _CUSTOM:
                _check_custom(code.text(1), part, findings)
        if not any(True for _ in model.tables(_SUBGRAPHS)):
            raise damaged("It holds no graph.", where=part.where, code="tflite")
        for buffer in model.tables(_BUFFERS):
            if buffer.number(1, 8) > 1 and buffer.number(1, 8) + buffer.number(2, 8) > part.size:
                raise damaged(
                    "A buffer reaches beyond the end: the file is truncated.", where=part.where, code="truncated"
                )
    except UncleanError as error:
        findings.append(error.finding)
    return FormatReport(format=NAME, findings=tuple(findings))


def _check_custom(name: str, part: Part, findings: list[Finding]) -> None:
    if name in _HARMLESS or name.startswith(("odml.", "stablehlo.")):
        return
    if name.startswith("Flex"):
        if name.removeprefix("Flex") in ACTS:
            msg = f"It has the operator {name[:60]}, which touches files, other programs or Python."
            raise forbidden(msg, where=part.where, code="tensorflow-operator")
        what = f"It needs the operator {name[:60]} of TensorFlow, which the runtime alone does not have."
        findings.append(Finding(kind="warning", where=part.where, what=what, code="tflite-flex"))
        return
    msg = f"It needs the custom operator {name[:60]!r}, which comes from a library."
    raise forbidden(msg, where=part.where, code="tflite-custom")
