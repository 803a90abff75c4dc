"""Greedy batching: one thread per model takes whatever waits, the moment it is free.

No timer and no polling: an idle model runs a lone request at once, and a busy one finds a batch when it comes back.
The queue is bounded and a full one refuses at once. What expires or is given up while it waits is never run.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wherry.core.errors import EngineError, WherryError
from wherry.runtime.interface import Array, Engine, Tensors
from wherry.serving.refusal import RefusedRequestError

_LOG = logging.getLogger(__name__)
_SMOOTHING = 0.2
"""Weight of the newest batch in the moving average of its duration."""


@dataclass(slots=True, eq=False)
class Work:
    """One request on its way through the queue. Its future belongs to `loop` and is only touched there."""

    inputs: Tensors
    rows: int
    key: Hashable
    future: "asyncio.Future[Tensors]"
    loop: asyncio.AbstractEventLoop
    expires: float | None
    """On the clock of `time.monotonic`, in seconds."""
    queued_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """What one execution cost. Times in nanoseconds."""

    rows: int
    waits_ns: tuple[int, ...]
    """Time in the queue, one for each request."""
    input_ns: int
    infer_ns: int
    output_ns: int


class Batcher:
    """The queue and the thread of one opened engine; owns the engine and closes it in the end."""

    def __init__(
        self,
        engine: Engine,
        *,
        max_rows: int = 32,
        max_queue: int = 256,
        merge: bool = True,
        on_batch: Callable[[BatchRecord], None] | None = None,
        on_drop: Callable[[str], None] | None = None,
    ) -> None:
        """Start the thread.

        Args:
            engine: opened engine; from here on only this batcher's thread calls it.
            max_rows: most rows in one execution; a longer request is run in slices of it.
            max_queue: most requests that may wait, not counting those that run.
            merge: whether rows of several requests may share an execution.
            on_batch: told about each execution, on the batcher's thread.
            on_drop: told `queue_full`, `expired` or `cancelled` for each request that was not run.
        """
        self._engine = engine
        self._max_rows = max_rows
        self._max_queue = max_queue
        self._merge = merge
        self._on_batch = on_batch or (lambda _: None)
        self._on_drop = on_drop or (lambda _: None)
        self._queue: deque[Work] = deque()
        self._changed = threading.Condition()
        self._retired = False
        self._batch_s = 0.0
        self._thread = threading.Thread(target=self._serve, name=f"wherry-infer-{engine.name}", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    def check_room(self) -> None:
        """Raise at once if a request would not be taken, so that nobody reads its body for nothing.

        Raises:
            RefusedRequestError: the queue is full; `Retry-After` says when it is worth another try.
        """
        if len(self._queue) >= self._max_queue:
            self._on_drop("queue_full")
            wait = max(1, math.ceil(len(self._queue) * self._batch_s / (self._max_rows if self._merge else 1)))
            msg = f"The server is busy: {self._max_queue} requests are waiting already."
            raise RefusedRequestError(msg, headers={"Retry-After": str(wait)})

    async def run(self, inputs: Tensors, rows: int, timeout_s: float | None = None) -> Tensors:
        """Return the outputs for `inputs`, which the caller has checked against the spec.

        Args:
            inputs: tensors by name; the first axis of each has `rows` entries.
            rows: how many rows they hold.
            timeout_s: how long the request may wait for its turn; it is not cut off once it runs.

        Raises:
            RefusedRequestError: the queue is full, or the time was over before its turn came.
            EngineError: the runtime failed.
        """
        loop = asyncio.get_running_loop()
        key = tuple((name, array.dtype, array.shape[1:]) for name, array in inputs.items()) if self._merge else object()
        expires = None if timeout_s is None else time.monotonic() + timeout_s
        work = Work(inputs, rows, key, loop.create_future(), loop, expires, time.perf_counter_ns())
        self._enqueue(work)
        timer = None if timeout_s is None else loop.call_later(timeout_s, self._expire, work)
        try:
            return await work.future
        except asyncio.CancelledError:
            if self._remove(work):
                self._on_drop("cancelled")
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def retire(self) -> None:
        """Take no more requests, finish those that wait, then close the engine. Returns at once."""
        with self._changed:
            self._retired = True
            self._changed.notify()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until a retired batcher has closed its engine; return whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _enqueue(self, work: Work) -> None:
        with self._changed:
            if self._retired:
                msg = "The model is being replaced or unloaded."
                raise RefusedRequestError(msg, headers={"Retry-After": "1"})
            self.check_room()
            self._queue.append(work)
            self._changed.notify()

    def _remove(self, work: Work) -> bool:
        with self._changed:
            try:
                self._queue.remove(work)
            except ValueError:
                return False
            return True

    def _expire(self, work: Work) -> None:
        if self._remove(work):
            self._on_drop("expired")
            _settle([(work, _expired())])

    def _serve(self) -> None:
        while (batch := self._take()) is not None:
            if not batch:
                continue
            started = time.perf_counter()
            _deliver(self._execute(batch))
            self._batch_s += _SMOOTHING * (time.perf_counter() - started - self._batch_s)
        try:
            self._engine.close()
        except Exception:
            _LOG.exception("closing an engine failed")

    def _take(self) -> list[Work] | None:
        """Wait for work and return a batch; an empty one if all of it had expired, None when retired and done."""
        with self._changed:
            while not self._queue and not self._retired:
                self._changed.wait()
            if not self._queue:
                return None
            late = self._drop_late()
            batch = self._pick() if self._queue else []
        if late:
            _deliver([(work, _expired()) for work in late])
        return batch

    def _drop_late(self) -> list[Work]:
        now = time.monotonic()
        late = [work for work in self._queue if work.expires is not None and work.expires <= now]
        for work in late:
            self._queue.remove(work)
            self._on_drop("expired")
        return late

    def _pick(self) -> list[Work]:
        """Take the oldest request, and after it those of its shape in their order, until the next would not fit."""
        head = self._queue.popleft()
        batch, rows = [head], head.rows
        for work in list(self._queue) if rows < self._max_rows else ():
            if work.key != head.key:
                continue
            if rows + work.rows > self._max_rows:
                break
            batch.append(work)
            rows += work.rows
        for work in batch[1:]:
            self._queue.remove(work)
        return batch

    def _execute(self, batch: list[Work]) -> list[tuple[Work, Tensors | WherryError]]:
        try:
            return list(zip(batch, self._run(batch), strict=True))
        except Exception as error:
            if len(batch) > 1:
                # One caller's numbers must not fail the others: find out whose they are.
                return [result for work in batch for result in self._execute([work])]
            return [(batch[0], _narrowed(error, self._engine.name))]

    def _run(self, batch: Sequence[Work]) -> list[Tensors]:
        started = time.perf_counter_ns()
        waits = tuple(started - work.queued_ns for work in batch)
        rows = sum(work.rows for work in batch)
        inputs = _merged(batch)
        merged = time.perf_counter_ns()
        outputs = self._infer(inputs, rows)
        inferred = time.perf_counter_ns()
        answers = _scattered(outputs, [work.rows for work in batch])
        self._on_batch(
            BatchRecord(
                rows=rows,
                waits_ns=waits,
                input_ns=merged - started,
                infer_ns=inferred - merged,
                output_ns=time.perf_counter_ns() - inferred,
            )
        )
        return answers

    def _infer(self, inputs: Tensors, rows: int) -> Tensors:
        if rows <= self._max_rows or not self._merge:
            return self._engine.run(inputs)
        parts = []
        for start in range(0, rows, self._max_rows):
            part = self._engine.run({name: array[start : start + self._max_rows] for name, array in inputs.items()})
            parts.append({name: array.copy() for name, array in part.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _merged(batch: Sequence[Work]) -> Tensors:
    """Return the inputs of a batch, aligned and writable: those of a request are views into its body."""
    if len(batch) == 1:
        return {name: np.array(array, order="C") for name, array in batch[0].inputs.items()}
    return {name: np.concatenate([work.inputs[name] for work in batch]) for name in batch[0].inputs}


def _scattered(outputs: Mapping[str, Array], rows: Sequence[int]) -> list[Tensors]:
    """Return each request's own rows, copied: an engine may use its memory again for the next batch."""
    answers, start = [], 0
    for count in rows:
        answers.append({name: np.array(array[start : start + count]) for name, array in outputs.items()})
        start += count
    return answers


def _deliver(results: Sequence[tuple[Work, Tensors | WherryError]]) -> None:
    """Hand results to the loops of their callers, with one wake-up for each loop."""
    for loop in {work.loop for work, _ in results}:
        mine = [result for result in results if result[0].loop is loop]
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:
            _LOG.warning("%d answers were not delivered, because their event loop is closed", len(mine))


def _settle(results: Iterable[tuple[Work, Tensors | WherryError]]) -> None:
    for work, result in results:
        if work.future.done():
            continue
        if isinstance(result, WherryError):
            work.future.set_exception(result)
        else:
            work.future.set_result(result)


def _expired() -> RefusedRequestError:
    return RefusedRequestError("Request timeout expired before its turn came.", headers={"Retry-After": "1"})


def _narrowed(error: Exception, engine: str) -> WherryError:
    if isinstance(error, WherryError):
        return error
    _LOG.error("the engine %s raised an error that is not its own", engine, exc_info=error)
    return EngineError(f"{engine} failed while running: {type(error).__name__}.")
