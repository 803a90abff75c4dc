"""The task family's table: listing it imports nothing."""

import importlib

from wherry.core.errors import NotFoundError
from wherry.proof.interface import TaskMetric

TASKS: dict[str, str] = {
    "null": "wherry.proof.tasks.null:NullTask",
    "classification": "wherry.proof.tasks.classification:Classification",
}


def task_metric(name: str) -> TaskMetric:
    """Return the metric of that task.

    Raises:
        NotFoundError: no such task.
    """
    if name not in TASKS:
        msg = f"There is no task {name!r}."
        raise NotFoundError(msg, next_step=f"Use one of {', '.join(TASKS)}.")
    module, _, attribute = TASKS[name].partition(":")
    member: TaskMetric = getattr(importlib.import_module(module), attribute)()
    return member
