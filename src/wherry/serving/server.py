"""Runs the application on a socket: until a signal, or in the background of a test or a demonstration."""

import asyncio
import errno
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Self

import uvicorn

from wherry.core.errors import BadInputError, BusyError, DeviceError, EngineError
from wherry.serving.app import DEFAULT_MAX_BODY, create_app
from wherry.serving.model import ServedModel
from wherry.serving.pool import DEFAULT_MAX_BATCH, DEFAULT_MAX_QUEUE, Pool

_LOG = logging.getLogger(__name__)
_BACKLOG = 2048
_DRAIN_S = 30
_LAST_PORT = 65_535


def serve(
    models: Sequence[ServedModel],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    max_queue: int = DEFAULT_MAX_QUEUE,
    max_batch: int = DEFAULT_MAX_BATCH,
    threads: int = 0,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve `models` until SIGTERM or SIGINT, then drain: not ready, no new inference, what has begun is finished.

    A model that does not pass its self-test does not end the server: it is not ready, and says why.

    Args:
        models: what to serve.
        host: address to listen on.
        port: port to listen on; 0 takes any free one.
        max_queue: most requests that may wait for one model.
        max_batch: most rows in one execution.
        threads: threads of each engine; 0 lets the runtime decide.
        on_ready: told the address, such as `http://127.0.0.1:8080`, once every model answers.

    Raises:
        BadInputError: no model, one twice, or an address that is none.
        BusyError: the port is taken.
        DeviceError: the port may not be used.
    """
    pool = Pool(models, max_queue=max_queue, max_batch=max_batch, threads=threads)
    with _listen(host, port) as listener:
        _Server(pool, _url(listener), on_ready).run(sockets=[listener])


class BackgroundServer:
    """A server on a thread of this process, for as long as the `with` block; ready when the block begins."""

    def __init__(
        self,
        models: Sequence[ServedModel],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_queue: int = DEFAULT_MAX_QUEUE,
        max_batch: int = DEFAULT_MAX_BATCH,
        threads: int = 0,
        max_body: int = DEFAULT_MAX_BODY,
        require_ready: bool = True,
    ) -> None:
        """Listen; nothing is opened before the `with` block. Arguments as in `serve`.

        Args:
            models: what to serve.
            host: address to listen on.
            port: port to listen on; 0 takes any free one.
            max_queue: most requests that may wait for one model.
            max_batch: most rows in one execution.
            threads: threads of each engine.
            max_body: largest request body in bytes.
            require_ready: whether a model that does not come up is an error.

        Raises:
            BadInputError: no model, one twice, or an address that is none.
            BusyError: the port is taken.
        """
        self.pool = Pool(models, max_queue=max_queue, max_batch=max_batch, threads=threads)
        self._listener = _listen(host, port)
        self.url = _url(self._listener)
        """Address, such as `http://127.0.0.1:40123`."""
        self._require_ready = require_ready
        self._loaded = threading.Event()
        self._server = _Server(self.pool, self.url, None, max_body=max_body, on_loaded=self._loaded.set)
        self._thread = threading.Thread(target=self._run, name="wherry-serve", daemon=True)

    def __enter__(self) -> Self:
        """Open the models and begin to answer.

        Raises:
            ProofRefusedError: a model did not pass its self-test.
            WherryError: a model does not come up for another reason.
        """
        self._thread.start()
        self._loaded.wait()
        if self._require_ready and not self.pool.ready:
            errors = [entry.error for entry in self.pool.entries() if entry.error is not None]
            self._stop()
            raise errors[0] if errors else EngineError("The server ended before it was ready.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._loaded.set()

    def _stop(self) -> None:
        self._server.drain()
        self._thread.join()
        self._listener.close()


class _Server(uvicorn.Server):
    """uvicorn that drains before it stops, and tells when the models have been tried."""

    def __init__(
        self,
        pool: Pool,
        url: str,
        on_ready: Callable[[str], None] | None,
        *,
        max_body: int = DEFAULT_MAX_BODY,
        on_loaded: Callable[[], None] | None = None,
    ) -> None:
        config = uvicorn.Config(
            create_app(pool, max_body=max_body),
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_DRAIN_S,
        )
        super().__init__(config)
        self._pool = pool
        self._url = url
        self._on_ready = on_ready
        self._on_loaded = on_loaded
        self._give_up = float("inf")
        self._announcing: asyncio.Task[None] | None = None

    def drain(self) -> None:
        """Begin to stop; safe to call from a signal handler and from another thread."""
        self._give_up = time.monotonic() + _DRAIN_S
        self._pool.draining = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: end at once, as if the signal had not been handled."""
        if not self._pool.draining:
            self.drain()
            return
        signal.signal(sig, signal.SIG_DFL)
        signal.raise_signal(sig)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and announce the server when its models answer."""
        await super().startup(sockets)
        self._announcing = asyncio.create_task(self._announce())

    async def on_tick(self, counter: int) -> bool:
        """Stop when nothing is in flight any more."""
        drained = self._pool.draining and (self._pool.in_flight == 0 or time.monotonic() > self._give_up)
        return await super().on_tick(counter) or drained

    async def _announce(self) -> None:
        await self._pool.loaded.wait()
        if self._on_loaded is not None:
            self._on_loaded()
        if self._pool.ready and self._on_ready is not None:
            self._on_ready(self._url)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= _LAST_PORT:
        msg = f"{port} is not a port: ports go from 0 to {_LAST_PORT}."
        raise BadInputError(msg)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (socket.gaierror, UnicodeError) as error:
        msg = f"{host!r} is not an address of this machine."
        raise BadInputError(
            msg, next_step="Use 127.0.0.1 for this machine only, or 0.0.0.0 for all its addresses."
        ) from error
    except OSError as error:
        what = f"Port {port} on {host}"
        if error.errno == errno.EADDRINUSE:
            msg = f"{what} is in use by another process."
            raise BusyError(msg, next_step="Choose another port; 0 takes any free one.") from error
        if error.errno == errno.EADDRNOTAVAIL:
            msg = f"{host!r} is not an address of this machine."
            raise BadInputError(msg) from error
        msg = f"{what} cannot be opened: {os.strerror(error.errno or 0)}."
        raise DeviceError(msg, next_step="Ports below 1024 need special rights; choose a higher one.") from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
