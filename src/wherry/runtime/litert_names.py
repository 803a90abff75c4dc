"""How a TFLite file's signature and a spec name the same tensors."""

import re
from collections.abc import Sequence

from wherry.core.errors import EngineError

SIGNATURE = "serving_default"
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


def by_position(names: Sequence[str], inside: Sequence[str], what: str) -> dict[str, str]:
    """Return the signature's name for each name of the spec: the same one, or else that in the same position.

    Args:
        names: of the spec, in its order.
        inside: of the signature, such as `args_0` and `args_10`, in any order.
        what: `inputs` or `outputs`, for an error.

    Raises:
        EngineError: there are not as many of one as of the other.
    """
    if len(names) != len(inside):
        msg = f"The file has {len(inside)} {what}, the spec names {len(names)}."
        raise EngineError(msg)
    if set(names) == set(inside):
        return {name: name for name in names}
    return dict(zip(names, sorted(inside, key=_position), strict=True))


def _position(name: str) -> tuple[int, str]:
    found = _LAST_NUMBER.search(name)
    return (int(found[1]) if found else -1, name)
