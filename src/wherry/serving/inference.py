"""The inference endpoint: a body in, one answer out."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from wherry.core.errors import WherryError
from wherry.runtime.interface import Tensors
from wherry.serving.compression import accepted, compress, decompress, too_large
from wherry.serving.documents import failure
from wherry.serving.pool import Entry, Pool
from wherry.serving.refusal import status_of
from wherry.serving.request import InferRequest, parse_request
from wherry.serving.response import build_reply

_LOG = logging.getLogger(__name__)
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_GONE: Final = 499
"""Status in the metrics when the caller hung up; nobody receives it. nginx's number for it."""
_WATCH_AFTER_S: Final = 0.05
"""A caller that waits longer is watched for hanging up; below that, watching would cost more than it saves."""
_THREAD_BYTES: Final = 1 << 16
"""Bodies from this size on are packed and unpacked on a thread: zlib lets go of the interpreter's lock."""


class InferenceEndpoint:
    """Answers `POST /v2/models/{model}[/versions/{version}]/infer`."""

    def __init__(self, pool: Pool, *, max_body: int) -> None:
        """Answer for `pool`; bodies over `max_body` bytes, compressed or not, are refused."""
        self._pool = pool
        self._max_body = max_body

    async def infer(self, request: Request) -> Response:
        """Answer one request; every failure is a JSON document with one sentence."""
        started = time.perf_counter_ns()
        entry: Entry | None = None
        try:
            with self._pool.request():
                entry = self._pool.find(request.path_params["model"], request.path_params.get("version"))
                response = await self._answer(request, entry)
        except WherryError as error:
            if status_of(error) >= 500:
                _LOG.warning("request failed: %s", error.message)
            response = failure(error)
        except ClientDisconnect:
            response = Response(status_code=_GONE)
        self._count(entry, response.status_code, time.perf_counter_ns() - started)
        return response

    def _count(self, entry: Entry | None, code: int, ns: int) -> None:
        if entry is None:
            self._pool.metrics.count_unknown(code)
            return
        entry.metrics.add_answer(code, ns)
        entry.stats.add_answer(code == 200, ns)

    async def _answer(self, request: Request, entry: Entry) -> Response:
        entry.batcher().check_room()
        body = await self._body(request)
        parsed = parse_request(body, request.headers.get(HEADER_LENGTH), entry.model.spec)
        outputs = await _run(request, entry, parsed)
        spec = entry.model.spec
        reply = build_reply(entry.model.name, entry.model.version, parsed, outputs, spec.class_names)
        headers = {"Content-Type": "application/json"}
        if reply.header_length is not None:
            headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(reply.header_length)}
        content = reply.body
        if coding := accepted(request.headers.get("Accept-Encoding")):
            headers["Content-Encoding"] = coding
            inline = len(content) < _THREAD_BYTES
            content = compress(content, coding) if inline else await asyncio.to_thread(compress, content, coding)
        return Response(content, headers=headers)

    async def _body(self, request: Request) -> bytes:
        announced = request.headers.get("Content-Length", "0")
        if announced.isdigit() and int(announced) > self._max_body:
            raise too_large(self._max_body)
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._max_body:
                raise too_large(self._max_body)
            chunks.append(chunk)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        encoding = request.headers.get("Content-Encoding")
        if encoding is None or len(body) < _THREAD_BYTES:
            return decompress(body, encoding, self._max_body)
        return await asyncio.to_thread(decompress, body, encoding, self._max_body)


async def _run(request: Request, entry: Entry, parsed: InferRequest) -> Tensors:
    with _departure(request) as gone:
        try:
            # Asked for again: while the body came in, another batcher may have taken over.
            return await entry.batcher().run(parsed.inputs, parsed.rows, parsed.timeout_s)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not gone or task is None:
                raise
            task.uncancel()
            raise ClientDisconnect from None


@contextmanager
def _departure(request: Request) -> Iterator[list[bool]]:
    """Cancel the current task if the caller hangs up while it waits; the list is not empty then."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    gone: list[bool] = []
    watchers: list[asyncio.Task[None]] = []

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.append(True)
        if task is not None:
            task.cancel()

    timer = loop.call_later(_WATCH_AFTER_S, lambda: watchers.append(loop.create_task(watch())))
    try:
        yield gone
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()
