"""What a caller is told when there is no answer: one sentence and an HTTP status."""

from wherry.core.errors import BadInputError, NotFoundError, RefusedError, WherryError


class RefusedRequestError(RefusedError):
    """A request was turned away by the server itself: too much work, too large, too late, or not ready."""

    default_next_step = "Send the request again later."

    def __init__(self, message: str, *, status: int = 503, headers: dict[str, str] | None = None) -> None:
        """Keep the sentence with the HTTP status and headers, such as `Retry-After`, that go with it."""
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


def status_of(error: WherryError) -> int:
    """Return the HTTP status of an error: 400 the caller's, 404 unknown, 503 not now, 500 ours."""
    if isinstance(error, RefusedRequestError):
        return error.status
    if isinstance(error, NotFoundError):
        return 404
    return 400 if isinstance(error, BadInputError) else 500


def unknown_model(name: str, version: str | None = None) -> NotFoundError:
    """Return the error for a model or version that is not served, in the words that V2 clients look for."""
    which = f"'{name}'" if version is None else f"'{name}' version {version}"
    return NotFoundError(
        f"Request for unknown model: {which} is not found", next_step="POST /v2/repository/index lists them."
    )
