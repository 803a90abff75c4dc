"""Writes the names that whole pickled modules may hold: one table a library in `src/wherry/checkpoint/names/`.

    python tools/list_names.py [LIBRARY...]     by default all of `ROOMS`

Walks the installed library and keeps a class if the rules of `docs/adr/0012-whole-modules.md` let it: a network or an
estimator with a plain name, whose making from a pickle runs nothing but what the rules know, and whose source neither
evaluates text nor touches files, processes or the network. What is left out is printed with its reason.
"""

import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

OUT = Path(__file__).resolve().parents[1] / "src" / "wherry" / "checkpoint" / "names"

ROOMS: dict[str, tuple[str, ...]] = {
    "torch": ("torch.nn.modules",),
    "torchvision": ("torchvision.models", "torchvision.ops", "torchvision.transforms"),
    "timm": ("timm.layers", "timm.models"),
    "ultralytics": (
        "ultralytics.nn.modules",
        "ultralytics.nn.tasks",
        "ultralytics.utils.loss",
        "ultralytics.utils.tal",
    ),
    "segmentation_models_pytorch": ("segmentation_models_pytorch",),
    "sklearn": ("sklearn",),
}
_SKIPPED = re.compile(r"\.tests?(\.|$)|\.conftest|__main__|sklearn\.(datasets|externals|experimental)|\.autobackend")
_ACTS = re.compile(
    r"(?<![\w.])(?<!def )(eval|exec|compile|open|__import__)\(|torch\.(load|hub|jit\.load)|load_state_dict_from_url|"
    r"import_module|subprocess|os\.(system|popen|remove)|urlopen|requests\.|getattr\((torch|nn|F|sys|builtins)\b|attempt_"
)
_MAKERS = ("__setstate__", "__reduce__", "__reduce_ex__", "__new__", "__del__", "__getattr__")
_REVIEWED = frozenset(
    {
        # torch: fills in flags that older files lack; `__getattr__` looks into the module's own tables.
        "torch.nn.modules",
        # scikit-learn: compares versions and copies the state into `__dict__`; `__getattr__` refuses deprecated names.
        "sklearn.base",
        # Each read: fills in what older files lack, or makes its interpolation from its own arrays.
        "sklearn.isotonic",
        "sklearn.linear_model._passive_aggressive",
        "timm.layers.ml_decoder",
        "ultralytics.nn.modules.block",
        # Stores the arguments of its making beside it, of which a pickle gives none.
        "segmentation_models_pytorch.base",
        "huggingface_hub.hub_mixin",
    }
)
_LEFT_OUT = re.compile(r"^(Lazy|UninitializedT|DistributedDataParallel|TorchVision|World|YOLOE)|Lazy")


def modules(room: str) -> Iterator[ModuleType]:
    """Import every module below `room` that can be imported."""
    top = importlib.import_module(room)
    yield top
    for found in pkgutil.walk_packages(getattr(top, "__path__", ()), f"{room}.", onerror=lambda _: None):
        if _SKIPPED.search(found.name):
            continue
        try:
            yield importlib.import_module(found.name)
        except Exception as error:
            print(f"- {found.name}: cannot be imported here ({type(error).__name__})")


def bases(library: str) -> tuple[type, ...]:
    """Return what a class must descend from."""
    if library == "sklearn":
        return (importlib.import_module("sklearn.base").BaseEstimator,)
    return (importlib.import_module("torch.nn").Module,)


def reason(kind: type) -> str:
    """Return why a class is left out; empty if it is kept."""
    if "." in kind.__qualname__ or "<" in kind.__qualname__:
        return "its name is a path"
    if _LEFT_OUT.search(kind.__name__):
        return "it makes or fetches its parts later"
    for parent in kind.__mro__:
        reviewed = any(parent.__module__.startswith(known) for known in _REVIEWED)
        if reviewed or parent.__module__ in ("builtins", "abc", "typing"):
            continue
        maker = next((name for name in _MAKERS if name in vars(parent)), None)
        if maker is not None:
            return f"{parent.__name__} has {maker}"
    acts = _ACTS.search(source(kind))
    return f"its source has {acts[0]}" if acts else ""


def source(kind: type) -> str:
    """Return the source of a class, or nothing where it has none."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""


def names(library: str) -> dict[str, set[str]]:
    """Return module -> names of the classes that are kept, each under the module that it says it is of."""
    kinds: dict[str, set[str]] = {}
    wanted = bases(library)
    seen: set[Any] = set()
    for room in ROOMS[library]:
        for module in modules(room):
            for kind in vars(module).values():
                if not inspect.isclass(kind) or kind in seen or not issubclass(kind, wanted):
                    continue
                if not kind.__module__.startswith(library):
                    continue
                seen.add(kind)
                why = reason(kind)
                if why:
                    print(f"- {kind.__module__}.{kind.__qualname__}: {why}")
                else:
                    kinds.setdefault(kind.__module__, set()).add(kind.__name__)
    return kinds


def main() -> None:
    """Write the tables of the libraries that were named, or of all."""
    warnings.simplefilter("ignore")
    for library in sys.argv[1:] or ROOMS:
        found = names(library)
        lines = [f"{module}: {' '.join(sorted(kinds))}\n" for module, kinds in sorted(found.items())]
        (OUT / f"{library}.txt").write_text("".join(lines), encoding="utf-8")
        print(f"{library}: {sum(map(len, found.values()))} classes in {len(found)} modules")


if __name__ == "__main__":
    main()
