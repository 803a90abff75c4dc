"""ExecuTorch: a FlatBuffer with a list of operators and of delegates.

Field numbers: https://github.com/pytorch/executorch/blob/main/schema/program.fbs (BSD-3-Clause).
"""

import re

from wherry.checkpoint.findings import FormatReport, UncleanError, damaged, forbidden
from wherry.checkpoint.flatbuffer import root
from wherry.checkpoint.parts import Part

NAME = "executorch"
_PLANS, _OPERATORS, _DELEGATES = 1, 6, 7
_NAMESPACES = frozenset(
    {
        "aten",
        "prim",
        "executorch_prim",
        "quantized_decomposed",
        "et_vk",
        "dim_order_ops",
        "llama",
        "torchao",
        "cortex_m",
    }
)
_NAME = re.compile(r"(\w+)::(\w+)")


def matches(head: bytes) -> bool:
    """Return whether the file says that it is one."""
    return re.fullmatch(rb"ET[0-9]{2}", head[4:8]) is not None


def read(part: Part) -> FormatReport:
    """Look at every operator that the runtime must bring."""
    try:
        plans = list(root(part).tables(_PLANS))
        if not plans:
            raise damaged("It holds no plan.", where=part.where, code="executorch")
        for plan in plans:
            for operator in plan.tables(_OPERATORS):
                _check(operator.text(0), part)
            for delegate in plan.tables(_DELEGATES):
                delegate.text(0)
    except UncleanError as error:
        return FormatReport(format=NAME, findings=(error.finding,))
    return FormatReport(format=NAME)


def _check(name: str, part: Part) -> None:
    found = _NAME.fullmatch(name)
    if found is None or found[1] not in _NAMESPACES or found[2] in ("from_file", "save", "load"):
        msg = f"It needs the operator {name[:60]!r}, which comes from a library or touches files."
        raise forbidden(msg, where=part.where, code="executorch-operator")
