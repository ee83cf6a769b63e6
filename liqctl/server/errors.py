"""Every refusal in one shape: `{"error": {"code": ..., "message": ...}}` with a fitting status."""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from liqctl.errors import StoreBusy, StoreError, StoreUnusable

log = structlog.get_logger(__name__)

SHOWN_MAX = 3
RETRY_AFTER_S = 1


class ApiError(Exception):
    """A request that cannot be answered; becomes an error answer with this status and code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Keep what the client is told."""
        super().__init__(message)
        self.status = status
        self.code = code


class Problem(msgspec.Struct, frozen=True):
    """Why a request was refused: a word for programs and a sentence for people."""

    code: str
    message: str


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: Problem


def error_answer(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error as a response."""
    body = msgspec.json.encode(ErrorAnswer(error=Problem(code=code, message=message)))
    return Response(body, status, headers, media_type="application/json")


def install(app: FastAPI) -> None:
    """Make the application answer every error in the one shape."""
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(StoreError, _store_failed)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)


def store_problem(error: StoreError) -> Problem:
    """Return what a client may know of a database that failed: no path, no address."""
    match error:
        case StoreBusy():
            return Problem(
                code="database_busy", message="The database is locked, slow or away; try again."
            )
        case StoreUnusable():
            return Problem(
                code="database_unusable",
                message="The database is missing or cannot be used; the server's log says why.",
            )
        case _:
            return Problem(
                code="database_failed",
                message="The database could not be read; the server's log says why.",
            )


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return error_answer(error.status, error.code, str(error))


async def _store_failed(_request: Request, error: Exception) -> Response:
    if not isinstance(error, StoreError):
        raise error
    problem = store_problem(error)
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return error_answer(503, problem.code, problem.message, headers)


async def _malformed(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return error_answer(422, "malformed", _told(error.errors()))


async def _http(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_")
    detail = "" if error.detail == phrase else f": {error.detail}"
    return error_answer(error.status_code, code, f"{phrase}{detail}.", error.headers)


async def _bug(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, exc_info=error)
    return error_answer(500, "internal_error", "This is a bug; the server's log has the traceback.")


def _told(found: Sequence[Any]) -> str:
    """Return the first findings in one sentence each, without repeating what was sent."""
    sentences = [f"{_place(each['loc'])}: {_finding(each)}" for each in found[:SHOWN_MAX]]
    more = len(found) - SHOWN_MAX
    return "; ".join(sentences) + (f"; and {more} more." if more > 0 else ".")


def _finding(found: Mapping[str, Any]) -> str:
    if found["type"] == "extra_forbidden":
        return "There is no such parameter"
    # A check of ours: pydantic would put its own words before it.
    own = found.get("ctx", {}).get("error")
    return str(own or found["msg"])


def _place(parts: Iterable[object]) -> str:
    return ".".join(str(part)[:64] for part in parts)
