"""Exports many targets side by side, each in its own child process; what has not changed is not exported again."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from wherry.core.codec import document_digest
from wherry.core.errors import ToolchainMissingError
from wherry.core.variant import PRUNE, Target
from wherry.export.build import Runner, build_variant, key_of, with_what_it_uses
from wherry.export.cache import ExportCache
from wherry.export.request import ExportOutcome, ExportRequest
from wherry.export.schedule import longest_first, seconds_of
from wherry.export.targets import exporter_class

OnEvent = Callable[[str, str], None]
"""Is given a target's name and one of `started`, `reused`, `done`, `failed`, in the caller's thread."""


def export_all(
    requests: Sequence[ExportRequest],
    *,
    cache: Path,
    run: Runner,
    parallel: int = 2,
    on_event: OnEvent | None = None,
) -> list[ExportOutcome]:
    """Return one outcome for each request, in their order; a target that fails costs the others nothing.

    A target that starts from another one's variant waits for it. When that one is not among the requests, it is
    built too, and its outcome is not returned. What is in the cache is checked by digest and used again.

    Args:
        requests: what to build; the same one may stand there twice.
        cache: folder of finished variants, made when it is not there.
        run: how a child process is run, `wherry.jobs.child.run_in_child`.
        parallel: how many children at once, at least 1.
        on_event: is told what happens.

    Raises:
        NotFoundError: a format does not exist; nothing has been started.
        StorageError: the cache cannot be used.
    """
    steps: dict[str, _Step] = {}
    wanted = [_plan(request, requests, steps) for request in requests]
    names = {id(step): name for name, step in steps.items()}
    seconds = {name: seconds_of(step.request.target) for name, step in steps.items()}
    parents = {name: names.get(id(step.parent)) for name, step in steps.items()}
    order = [steps[name] for name in longest_first(seconds, parents)]
    _Export(ExportCache(cache), run, max(1, parallel), on_event).carry_out(order)
    return [step.outcome for step in wanted if step.outcome is not None]


@dataclass(slots=True, eq=False)
class _Step:
    """One variant to build, or to find in the cache."""

    request: ExportRequest
    parent: "_Step | None"
    looked_up: bool = False
    outcome: ExportOutcome | None = None


def _plan(request: ExportRequest, requests: Sequence[ExportRequest], steps: dict[str, _Step]) -> _Step:
    """Return the step of this request, after adding it and what it starts from to `steps`."""
    member = exporter_class(request.target.format)
    refused = member.problem(request.target, request.spec) is not None  # what it starts from would be built for nothing
    needs = None if refused else member.needs(request.target)
    parent = None if needs is None else _plan(_parent_request(request, needs, requests), requests, steps)
    request = with_what_it_uses(request)
    return steps.setdefault(document_digest(request), _Step(request, parent))


def _parent_request(request: ExportRequest, needs: str, requests: Sequence[ExportRequest]) -> ExportRequest:
    """Return what was asked for under that name for the same version, or a plain request of our own.

    An option that both know, such as an opset, has to be the same: it is passed on to what the target starts from.
    """
    plain = Target.parse(needs)
    known = exporter_class(plain.format).options_of(plain.precision)
    own = known if plain.format == request.target.format else {}
    passed = {name: value for name, value in request.target.options.items() if name in own or name == PRUNE}
    for other in requests:
        same = (other.version_digest, other.program_sha256) == (request.version_digest, request.program_sha256)
        if same and other.target.plain_name == needs and other.target.options.items() >= passed.items():
            return other
    return replace(request, target=replace(plain, options=passed))


class _Export:
    """The steps under way; only the caller's thread touches it, the threads of the pool wait for children."""

    def __init__(self, cache: ExportCache, run: Runner, parallel: int, on_event: OnEvent | None) -> None:
        self._cache = cache
        self._run = run
        self._parallel = parallel
        self._on_event = on_event
        self._running: dict[Future[ExportOutcome], _Step] = {}

    def carry_out(self, steps: Sequence[_Step]) -> None:
        """Give every step its outcome; when this is interrupted, the children are ended first."""
        stop, waiting = threading.Event(), list(steps)
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="wherry-export") as pool:
            try:
                while waiting or self._running:
                    waiting = [step for step in waiting if not self._advance(step, pool, stop)]
                    # A limit, because on Windows Ctrl-C does not end a wait without one.
                    ended, _ = wait(self._running, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in ended:
                        self._settle(self._running.pop(future), future.result())
            except BaseException:
                stop.set()
                raise

    def _advance(self, step: _Step, pool: ThreadPoolExecutor, stop: threading.Event) -> bool:
        """Settle or start a step and return True, or return False because it has to wait."""
        parent = step.parent.outcome if step.parent else None
        if step.parent is not None and parent is None:
            return False
        if not step.looked_up:
            step.looked_up = True
            outcome = self._without_work(step.request, parent)
            if outcome is not None:
                self._settle(step, outcome)
                return True
        if len(self._running) >= self._parallel:
            return False
        self._tell(step, "started")
        self._running[pool.submit(build_variant, step.request, parent, self._cache, self._run, stop)] = step
        return True

    def _without_work(self, request: ExportRequest, parent: ExportOutcome | None) -> ExportOutcome | None:
        started, target = time.monotonic(), request.target
        exporter = exporter_class(target.format)
        problem = exporter.cannot_start(target, request.program_format) or exporter.problem(target, request.spec)
        if problem is not None:
            missing = isinstance(problem, ToolchainMissingError)
            return ExportOutcome(target=target, error=problem.message, next_step=problem.next_step, missing=missing)
        if parent is not None and parent.variant is None:
            error = f"{target.name} starts from {parent.target.name}, which failed: {parent.error}"
            return ExportOutcome(target=target, error=error, next_step=parent.next_step, missing=parent.missing)
        key = key_of(request, parent)
        variant = self._cache.find(key)
        if variant is None:
            return None
        folder, seconds = self._cache.folder(key), time.monotonic() - started
        return ExportOutcome(target=target, variant=variant, folder=folder, seconds=seconds, reused=True)

    def _settle(self, step: _Step, outcome: ExportOutcome) -> None:
        step.outcome = outcome
        self._tell(step, "reused" if outcome.reused else "failed" if outcome.variant is None else "done")

    def _tell(self, step: _Step, state: str) -> None:
        if self._on_event is not None:
            self._on_event(step.request.target.name, state)
