"""The longer allow-list: what a pickle stream may name that holds whole networks or estimators. Exact pairs again.

The tables lie in `names/`, one for each library, one line for each module. Those of the libraries' own classes are
written by `tools/list_names.py`, whose rules are in `docs/adr/0012-whole-modules.md`; the others were written by hand.
They are read when a stream names something that a tensor does not need, and not before.
"""

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).with_name("names")
_LIBRARIES = ("torch", "torchvision", "timm", "ultralytics", "segmentation_models_pytorch", "sklearn", "further")

MAPPINGS = frozenset(
    {
        "lightning.fabric.utilities.data AttributeDict",
        "lightning_fabric.utilities.data AttributeDict",
        "lightning.pytorch.utilities.parsing AttributeDict",
        "pytorch_lightning.utilities.parsing AttributeDict",
        "sklearn.utils._bunch Bunch",
        "sklearn.utils Bunch",
        "collections defaultdict",
    }
)
"""Classes that descend from dict: their items may be set."""

ARGLESS = frozenset(
    {"types SimpleNamespace", "argparse Namespace", "ultralytics.utils IterableSimpleNamespace"} | MAPPINGS
)
"""Classes whose `__init__` may run, because it does nothing without arguments."""


@cache
def classes() -> frozenset[str]:
    """Return `module name` of what may be made without arguments and then be given a state."""
    return frozenset().union(*(_table(name) for name in _LIBRARIES)) | hooks()


@cache
def hooks() -> frozenset[str]:
    """Return `module name` of the objects that may stand among the hooks of a network; no function may."""
    return _table("hooks")


@cache
def functions() -> frozenset[str]:
    """Return `module name` of functions and types that may be named as a value and are never called by a stream."""
    return _table("functions")


@cache
def compiled() -> frozenset[str]:
    """Return `module name` of classes in machine code that only their own makers may be given."""
    return _table("compiled")


@cache
def literals() -> frozenset[str]:
    """Return `module name` of what may be called with plain values: paths, dates, losses."""
    return _table("literals")


def _table(name: str) -> frozenset[str]:
    found: set[str] = set()
    for line in (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        module, _, names = line.partition(": ")
        found.update(f"{module} {attribute}" for attribute in names.split())
    return frozenset(found)
