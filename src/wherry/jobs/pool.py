"""Where jobs run and within which limits: in child processes here, or in those of a Ray cluster."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from wherry.jobs.child import run_in_child

T = TypeVar("T")
_PARALLEL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What the user decides about jobs; None leaves it to each job."""

    on: Literal["here", "ray"] = "here"
    ray_address: str | None = None
    parallel: int | None = None
    """How many at once; by default two here, and as many as a cluster has processors."""
    timeout_s: float | None = None
    memory_bytes: int | None = None


class Run(Protocol):
    """Calls `package.module:function` in a child process somewhere and returns its answer."""

    def __call__(
        self,
        function: str,
        spec: object,
        result: type[T],
        *,
        timeout_s: float,
        memory_bytes: int | None = None,
        on_log: Callable[[str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> T:
        """Return what the function returned, or raise the WherryError that it raised or that ended it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """An opened place for jobs."""

    run: Run
    parallel: int


@contextmanager
def opened(jobs: Jobs) -> Iterator[Pool]:
    """Give a place for jobs, and leave it at the end.

    Raises:
        ToolchainMissingError: Ray is not installed, here or on a machine of the cluster.
        BadInputError: there is no such cluster.
    """
    if jobs.on == "here":
        yield Pool(run=run_in_child, parallel=jobs.parallel or _PARALLEL)
        return
    from wherry.jobs.ray import connected

    with connected(jobs.ray_address) as runner:
        yield Pool(run=runner, parallel=jobs.parallel or runner.processors)
