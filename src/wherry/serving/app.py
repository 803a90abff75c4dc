"""The ASGI application: the V2 Open Inference Protocol over HTTP, and Prometheus metrics.

Endpoints, bodies and codes follow the protocol to the letter, so that stock clients of Triton and KServe work.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wherry.core.errors import BadInputError, DocumentError, WherryError
from wherry.serving.documents import (
    config_document,
    failure,
    index_document,
    json_response,
    metadata_document,
    server_document,
)
from wherry.serving.inference import InferenceEndpoint
from wherry.serving.pool import Entry, Pool
from wherry.serving.refusal import RefusedRequestError

DEFAULT_MAX_BODY = 64 * 1024 * 1024
_MAX_MANAGEMENT_BODY = 1024 * 1024


class LoadDocument(msgspec.Struct):
    """Body of a repository request; stock clients send more than is used."""

    parameters: dict[str, Any] = {}
    ready: bool = False


def create_app(pool: Pool, *, max_body: int = DEFAULT_MAX_BODY) -> Starlette:
    """Return the application; it opens the pool's models when it starts and frees them when it stops.

    Args:
        pool: what to serve.
        max_body: largest request body in bytes, before and after decompression.
    """
    models = ModelEndpoints(pool)
    repository = RepositoryEndpoints(pool)
    infer = InferenceEndpoint(pool, max_body=max_body).infer
    one, version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    routes = [
        *(Route(f"{path}/infer", infer, methods=["POST"]) for path in (one, version)),
        Route("/v2/health/live", models.live),
        Route("/v2/health/ready", models.ready),
        Route("/v2", models.server),
        Route("/v2/models", models.names),
        Route("/v2/models/stats", models.stats),
        *(Route(path, models.metadata) for path in (one, version)),
        *(Route(f"{path}/ready", models.model_ready) for path in (one, version)),
        *(Route(f"{path}/config", models.config) for path in (one, version)),
        *(Route(f"{path}/stats", models.stats) for path in (one, version)),
        Route("/v2/repository/index", repository.index, methods=["POST"]),
        Route("/v2/repository/models/{model}/load", repository.load, methods=["POST"]),
        Route("/v2/repository/models/{model}/unload", repository.unload, methods=["POST"]),
        Route("/metrics", models.metrics),
    ]
    app = Starlette(
        routes=routes,
        lifespan=_lifespan(pool),
        exception_handlers={WherryError: _refused, HTTPException: _http_error, Exception: _bug},
    )
    app.router.redirect_slashes = False
    return app


class ModelEndpoints:
    """Health, metadata, configuration, statistics and metrics."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def live(self, request: Request) -> Response:
        """The process answers."""
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:
        """Every model answers, and the server is not about to stop."""
        if not self._pool.ready:
            raise RefusedRequestError(self._pool.why_not_ready())
        return json_response({"ready": True, "live": True})

    async def server(self, request: Request) -> Response:
        """What this server is."""
        return json_response(server_document())

    async def names(self, request: Request) -> Response:
        """Names of the models, as KServe lists them."""
        return json_response({"models": sorted({entry.model.name for entry in self._pool.entries()})})

    async def metadata(self, request: Request) -> Response:
        """What a model takes and gives."""
        entry = self._answering(request)
        return json_response(metadata_document(entry, self._versions(entry)))

    async def config(self, request: Request) -> Response:
        """How a model is run."""
        entry = self._answering(request)
        return json_response(
            config_document(entry, self._versions(entry), self._pool.max_rows(entry), self._pool.max_queue)
        )

    async def model_ready(self, request: Request) -> Response:
        """Whether a model answers."""
        entry = self._answering(request)
        if self._pool.draining:
            raise RefusedRequestError(self._pool.why_not_ready())
        return json_response({"name": entry.model.name, "ready": True})

    async def stats(self, request: Request) -> Response:
        """What the models have done."""
        name, version = request.path_params.get("model"), request.path_params.get("version")
        entries = self._pool.entries(name) if version is None else [self._pool.find(str(name), version)]
        return json_response({"model_stats": [entry.stats.document() for entry in entries]})

    async def metrics(self, request: Request) -> Response:
        """Prometheus metrics."""
        return Response(self._pool.metrics.text(), media_type="text/plain; version=0.0.4")

    def _answering(self, request: Request) -> Entry:
        entry = self._pool.find(request.path_params["model"], request.path_params.get("version"))
        entry.batcher()
        return entry

    def _versions(self, entry: Entry) -> list[int]:
        return sorted(other.model.version for other in self._pool.entries(entry.model.name) if other.ready)


class RepositoryEndpoints:
    """The model repository: what there is, load again, unload."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def index(self, request: Request) -> Response:
        """All models with their state, and the reason where one does not answer."""
        document = await _document(request)
        return json_response(index_document(self._pool.entries(), ready_only=document.ready))

    async def load(self, request: Request) -> Response:
        """Open a model again from disk, in the background, and then swap."""
        name = request.path_params["model"]
        document = await _document(request)
        if document.parameters:
            msg = f"failed to load '{name}', configurations and files cannot be sent along: models are loaded from disk"
            raise BadInputError(msg)
        await self._pool.load(name)
        return Response()

    async def unload(self, request: Request) -> Response:
        """Take a model out."""
        await _document(request)
        await self._pool.unload(request.path_params["model"])
        return Response()


async def _document(request: Request) -> LoadDocument:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_MANAGEMENT_BODY:
            msg = f"The request body is larger than the {_MAX_MANAGEMENT_BODY} bytes that are allowed."
            raise RefusedRequestError(msg, status=413)
    if not body.strip():
        return LoadDocument()
    try:
        return msgspec.json.decode(body, type=LoadDocument)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"The body is not a repository request: {error}."
        raise DocumentError(msg) from error


def _lifespan(pool: Pool) -> Callable[[Starlette], Any]:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        # In the background: a server is live, and says that it is not ready, while its models are opened.
        loading = asyncio.create_task(pool.start())
        try:
            yield
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await pool.stop()

    return lifespan


async def _refused(request: Request, error: Exception) -> Response:
    return failure(error) if isinstance(error, WherryError) else await _bug(request, error)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return await _bug(request, error)
    sentence = {
        404: f"There is nothing at {request.url.path[:200]}.",
        405: f"{request.url.path[:200]} does not take {request.method}.",
    }.get(error.status_code, error.detail)
    headers = dict(error.headers) if error.headers else {}
    return json_response({"error": sentence}, status=error.status_code, headers=headers)


async def _bug(_request: Request, error: Exception) -> Response:
    sentence = f"The server failed ({type(error).__name__}); its log says more."
    return json_response({"error": sentence}, status=500)
