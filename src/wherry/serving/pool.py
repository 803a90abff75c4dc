"""The models of one server: which of them answer, and how one is loaded again while it answers.

All methods but `load_all` and what it calls belong to one event loop, so looking up a model and handing it a request
happen without a swap in between. Opening a model happens on a thread of its own.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum

from wherry.core.errors import BadInputError, WherryError
from wherry.runtime.interface import Engine
from wherry.serving.batcher import Batcher, BatchRecord
from wherry.serving.loading import open_model
from wherry.serving.metrics import Metrics
from wherry.serving.model import ServedModel
from wherry.serving.refusal import RefusedRequestError, unknown_model
from wherry.serving.signature import can_merge
from wherry.serving.stats import ModelStats

_LOG = logging.getLogger(__name__)
DEFAULT_MAX_QUEUE = 256
DEFAULT_MAX_BATCH = 32


class State(StrEnum):
    """State of a model, in the protocol's words."""

    LOADING = "LOADING"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


class Entry:
    """One version of one model, whether it answers or not."""

    def __init__(self, model: ServedModel, metrics: Metrics) -> None:
        self.model = model
        self.state = State.LOADING
        self.reason = ""
        """Why it does not answer; empty when it does."""
        self.error: WherryError | None = None
        """What went wrong when it was last opened, if it does not answer."""
        self.unloaded = False
        """Whether it was taken out on purpose, which does not make the server unready."""
        self.stats = ModelStats(model.name, model.version)
        self.metrics = metrics.model(model.name, model.version)
        self.metrics.watch(lambda: float(self._batcher.depth if self._batcher else 0), lambda: float(self.ready))
        self._batcher: Batcher | None = None

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self._batcher is not None

    def batcher(self) -> Batcher:
        """Return what runs its requests.

        Raises:
            NotFoundError: it was unloaded.
            RefusedRequestError: it is loading, or it did not pass its self-test.
        """
        if self._batcher is not None:
            return self._batcher
        if self.unloaded:
            raise unknown_model(self.model.name, str(self.model.version))
        title = f"Model '{self.model.name}' version {self.model.version}"
        if self.state is State.LOADING:
            raise RefusedRequestError(f"{title} is not ready: it is loading.", headers={"Retry-After": "1"})
        raise RefusedRequestError(f"{title} is not ready: {self.reason}")

    def swap(self, batcher: Batcher | None) -> Batcher | None:
        """Point at another batcher; the old one finishes what it has and then frees its engine. Return the old one."""
        old, self._batcher = self._batcher, batcher
        if batcher is not None:
            self.state, self.reason, self.error, self.unloaded = State.READY, "", None, False
        if old is not None:
            old.retire()
        return old

    def fail(self, error: WherryError) -> None:
        """Say why it does not answer; a version that still answers stays as it is."""
        if not self.ready:
            self.state, self.reason, self.error = State.UNAVAILABLE, error.message, error

    def add_batch(self, record: BatchRecord) -> None:
        """Count one execution."""
        self.stats.add_batch(record)
        self.metrics.add_batch(record)


class Pool:
    """The models that one server answers for."""

    def __init__(
        self,
        models: Iterable[ServedModel],
        *,
        max_queue: int = DEFAULT_MAX_QUEUE,
        max_batch: int = DEFAULT_MAX_BATCH,
        threads: int = 0,
    ) -> None:
        """Know the models; nothing is opened before `start`.

        Args:
            models: what to serve; several versions of one model may be among them.
            max_queue: most requests that may wait for one model.
            max_batch: most rows in one execution.
            threads: threads of each engine; 0 lets the runtime decide.

        Raises:
            BadInputError: no model, one twice, or a limit below 1.
        """
        if max_queue < 1 or max_batch < 1 or threads < 0:
            msg = (
                f"max_queue={max_queue} and max_batch={max_batch} must be at least 1, and threads={threads} at least 0."
            )
            raise BadInputError(msg)
        self.metrics = Metrics()
        self.draining = False
        """Set when the server is about to stop: not ready any more, and no new inference."""
        self.in_flight = 0
        """Inference requests that have begun and are not answered."""
        self.metrics.watch(lambda: float(self.in_flight))
        self.loaded = asyncio.Event()
        """Set when each model has been tried once."""
        self.max_batch = max_batch
        self.max_queue = max_queue
        self._threads = threads
        self._entries: dict[str, dict[int, Entry]] = {}
        self._retired: list[Batcher] = []
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="wherry-load")
        self._locks: dict[str, asyncio.Lock] = {}
        for model in models:
            versions = self._entries.setdefault(model.name, {})
            if model.version in versions:
                msg = f"{model.title} is given twice."
                raise BadInputError(msg)
            versions[model.version] = Entry(model, self.metrics)
            self._locks[model.name] = asyncio.Lock()
        if not self._entries:
            msg = "There is no model to serve."
            raise BadInputError(msg)

    @property
    def ready(self) -> bool:
        """Whether every model that was not unloaded answers, and the server is not about to stop."""
        return not self.draining and not self.why_not_ready()

    def why_not_ready(self) -> str:
        """Return one sentence for each model that does not answer; empty when all do."""
        if self.draining:
            return "The server is about to stop."
        waiting = [entry for entry in self.entries() if not entry.ready and not entry.unloaded]
        return " ".join(f"{entry.model.title}: {entry.reason or 'it is loading.'}" for entry in waiting)

    def entries(self, name: str | None = None) -> list[Entry]:
        """Return all versions of all models, or of one.

        Raises:
            NotFoundError: no such model.
        """
        if name is None:
            return [entry for versions in self._entries.values() for entry in versions.values()]
        if name not in self._entries:
            raise unknown_model(name)
        return list(self._entries[name].values())

    def find(self, name: str, version: str | None = None) -> Entry:
        """Return one version; without a number the highest that answers, else the highest.

        Raises:
            NotFoundError: no such model or version.
        """
        entries = self.entries(name)
        if version is None:
            return max(entries, key=lambda entry: (entry.ready, entry.model.version))
        number = int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0
        if number not in self._entries[name]:
            raise unknown_model(name, version[:40])
        return self._entries[name][number]

    def max_rows(self, entry: Entry) -> int:
        """Return the most rows in one execution of a model; 0 if requests cannot share one."""
        if not can_merge(entry.model.spec):
            return 0
        return entry.model.batch or self.max_batch

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count an inference request while it is answered.

        Raises:
            RefusedRequestError: the server is about to stop.
        """
        if self.draining:
            raise RefusedRequestError(self.why_not_ready(), headers={"Retry-After": "1", "Connection": "close"})
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def start(self) -> None:
        """Open each model in turn; one that cannot be opened is unavailable, with the reason."""
        try:
            for entry in self.entries():
                async with self._locks[entry.model.name]:
                    await self._try(entry)
        finally:
            self.loaded.set()

    async def load(self, name: str) -> None:
        """Open a model again from disk, all its versions, and swap; those that answer do so until then.

        Raises:
            BadInputError: "failed to load"; what was served before still is.
        """
        if name not in self._entries:
            msg = f"failed to load '{name}', this server has no model of that name"
            raise BadInputError(msg)
        async with self._locks[name]:
            entries = self.entries(name)
            opened: list[Batcher] = []
            for entry in entries:
                try:
                    opened.append(await self._open(entry))
                except WherryError as error:
                    self._retire(opened)
                    entry.fail(error)
                    msg = f"failed to load '{name}', version {entry.model.version}: {error.message}"
                    raise BadInputError(msg, next_step=error.next_step) from error
            for entry, batcher in zip(entries, opened, strict=True):
                self._retire([entry.swap(batcher)])

    async def unload(self, name: str) -> None:
        """Take a model out; what it has begun is finished.

        Raises:
            BadInputError: no such model.
        """
        if name not in self._entries:
            msg = f"failed to unload '{name}', this server has no model of that name"
            raise BadInputError(msg)
        async with self._locks[name]:
            for entry in self.entries(name):
                self._retire([entry.swap(None)])
                entry.unloaded = True
                entry.state, entry.reason = State.UNAVAILABLE, "unloaded"

    async def stop(self, timeout_s: float = 30.0) -> None:
        """Finish what waits and free every engine."""
        self.draining = True
        self._opener.shutdown(wait=False, cancel_futures=True)
        self._retire([entry.swap(None) for entry in self.entries()])
        for batcher in self._retired:
            await asyncio.to_thread(batcher.join, timeout_s)

    async def _try(self, entry: Entry) -> None:
        try:
            entry.swap(await self._open(entry))
        except WherryError as error:
            entry.fail(error)
            _LOG.error("%s is not served: %s", entry.model.title, error.message)

    async def _open(self, entry: Entry) -> Batcher:
        if not entry.ready:
            entry.state, entry.reason = State.LOADING, ""
        loop = asyncio.get_running_loop()
        engine = await loop.run_in_executor(self._opener, self._open_engine, entry.model)
        rows = self.max_rows(entry)
        return Batcher(
            engine,
            max_rows=rows or 1,
            max_queue=self.max_queue,
            merge=rows > 0,
            on_batch=entry.add_batch,
            on_drop=entry.metrics.reject,
        )

    def _open_engine(self, model: ServedModel) -> Engine:
        try:
            return open_model(model, threads=self._threads)
        except WherryError:
            raise
        except Exception as error:
            _LOG.exception("%s could not be opened", model.title)
            msg = f"{model.title} could not be opened: {type(error).__name__}: {error}"
            raise BadInputError(msg) from error

    def _retire(self, batchers: Sequence[Batcher | None]) -> None:
        self._retired = [batcher for batcher in self._retired if not batcher.join(0)]
        for batcher in batchers:
            if batcher is not None:
                batcher.retire()
                self._retired.append(batcher)
