"""Who ran which operators, counted from what a runtime says about one run."""

from collections import Counter
from collections.abc import Iterable

from wherry.core.report import Execution

SHAPE_OPERATORS = frozenset(
    {"Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Reshape", "Cast", "ConstantOfShape"}
    | {"Range", "Identity"}
)
"""ONNX operators that compute on a handful of whole numbers: runtimes leave them on the processor on purpose."""


def shares(providers: Iterable[str]) -> tuple[Execution, ...]:
    """Return how many operators each provider ran, the largest share first, from one name for each operator."""
    counts = Counter(providers)
    return tuple(
        Execution(provider=name, operators=number, share=number / counts.total())
        for name, number in counts.most_common()
    )


def fallback(wanted: str, ran: Iterable[tuple[str, str]]) -> str | None:
    """Return why a run was not what was asked for, or None.

    Args:
        wanted: the provider that was asked for.
        ran: provider and operator of everything that ran.
    """
    every = list(ran)
    others = Counter(operator for provider, operator in every if provider != wanted and operator not in SHAPE_OPERATORS)
    if not others:
        return None
    names = ", ".join(name for name, _ in others.most_common(3))
    return f"{others.total()} of {len(every)} operators ran elsewhere than on {wanted}, such as {names}"
