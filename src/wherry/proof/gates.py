"""Gates as a file: the numbers that a model must reach (contract row P4).

TOML, or JSON (which is YAML too), either flat or with a table for each model::

    [unet-resnet34]
    fps = 35
    latency_ms = 28
    memory_gb = 4
    miou = 0.80

Known are `fps` and `latency_ms` (whole calls: preprocessing, engine and postprocessing, medians), `p50_ms`, `p90_ms`,
`p95_ms` and `p99_ms` (the engine alone), `size_mb`, `memory_gb`, `max_drop` (points against the reference) and every
number of the proof by its name (`accuracy`, `miou`, `map50`, `iou.<class>`: the least value, 0 to 1).
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherry.core.errors import BadInputError, NotFoundError
from wherry.proof.choose import Constraints

_LIMITS = {
    "fps": ("min_fps", 1.0),
    "latency_ms": ("max_end_to_end_ms", 1.0),
    "p50_ms": ("max_p50_ms", 1.0),
    "p90_ms": ("max_p90_ms", 1.0),
    "p95_ms": ("max_p95_ms", 1.0),
    "p99_ms": ("max_p99_ms", 1.0),
    "size_mb": ("max_size_mb", 1.0),
    "memory_gb": ("max_memory_mb", 1e3),
    "max_drop": ("max_quality_drop", 0.01),
}


def read_gates(path: Path, model: str) -> Constraints:
    """Return the gates of a model from a file.

    Args:
        path: a `.toml` file; anything else is read as JSON.
        model: whose table counts where the file has tables.

    Raises:
        NotFoundError: there is no such file, or no table for the model in it.
        BadInputError: it cannot be read, or a gate is not a number.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise NotFoundError(msg, next_step="Check the path.") from error
    try:
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        msg = f"{path} is not a file of gates: {error}."
        raise BadInputError(msg, next_step="Write lines such as `fps = 35` into a .toml file.") from error
    return constraints_from(found, model)


def constraints_from(found: object, model: str) -> Constraints:
    """Return gates from what a file holds; see `read_gates`.

    Raises:
        NotFoundError: there are tables, and none for the model.
        BadInputError: a gate is not a number, or there is none.
    """
    gates = _of_model(found, model)
    for name, value in gates.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            msg = f"The gate {name!r} is {value!r}, and a number is expected."
            raise BadInputError(msg)
    limits = {_LIMITS[name][0]: value * _LIMITS[name][1] for name, value in gates.items() if name in _LIMITS}
    return Constraints(**limits, min_metrics={n: float(v) for n, v in gates.items() if n not in _LIMITS})


def _of_model(found: object, model: str) -> Mapping[str, Any]:
    if not isinstance(found, dict) or not found:
        msg = "The file holds no gates."
        raise BadInputError(msg, next_step="Write lines such as `fps = 35`.")
    if not all(isinstance(value, dict) for value in found.values()):
        return found
    if model not in found:
        msg = f"The file holds gates for {', '.join(found)}, and none for {model}."
        raise NotFoundError(msg, next_step=f"Add a table [{model}].")
    table: Mapping[str, Any] = found[model]
    return table
