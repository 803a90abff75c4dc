"""The task family's table: listing it imports nothing."""

from wherry.core.family import look_up
from wherry.proof.interface import TaskMetric

TASKS: dict[str, str] = {
    "null": "wherry.proof.tasks.null:NullTask",
    "classification": "wherry.proof.tasks.classification:Classification",
    "segmentation": "wherry.proof.tasks.segmentation:Segmentation",
    "detection": "wherry.proof.tasks.detection:Detecting",
    "policy_value": "wherry.proof.tasks.policy_value:PolicyValue",
    "embedding": "wherry.proof.tasks.embedding:Embedding",
}


def task_metric(name: str) -> TaskMetric:
    """Return the metric of that task.

    Raises:
        NotFoundError: no such task.
    """
    member: type[TaskMetric] = look_up(TASKS, name, "task")
    return member()
