"""Errors: how a refusal, a request that cannot be read, and an outage are answered by the control API.

{"error": {"code", "message", "type", "param", ...the refusal's facts}}
"""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from tokenopen.core.errors import InvalidRequest, NotFound, Refusal, RequestTooLarge, StorageUnavailable
from tokenopen.ports.storage import StorageAway

BODY_BYTES_MAX: Final = 2**20


class ErrorFacts(BaseModel):
    """Why a request was not carried out; further fields are the facts that the message names."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str
    type: str
    param: str | None


class ErrorBody(BaseModel):
    """The answer to every request that was not carried out."""

    error: ErrorFacts


def refusal_response(refusal: Refusal, *, status: int | None = None) -> JSONResponse:
    """Return a refusal as the control API answers it."""
    error = {
        "code": refusal.code,
        "message": refusal.message,
        "type": refusal.error_type,
        "param": None,
        **refusal.facts,
    }
    headers = {}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        jsonable_encoder({"error": error}), status_code=status or refusal.status, headers=headers
    )


def _field_of(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location[1:] if part != "[key]")


def _explain(error: dict[str, Any]) -> InvalidRequest:
    """Return the first thing that is wrong with a request, naming the field."""
    field = _field_of(error["loc"])
    kind, text = error["type"], error["msg"].removeprefix("Value error, ")
    if kind == "json_invalid":
        return InvalidRequest(f"The body is not valid JSON ({error['ctx']['error']}).")
    if not field:
        return InvalidRequest("Send a JSON object, with Content-Type: application/json.")
    if kind == "missing":
        return InvalidRequest(f"{field} is required.", param=field)
    if kind == "extra_forbidden":
        return InvalidRequest(f"{field} is not known here.", param=field)
    return InvalidRequest(f"{field}: {text}", param=field)


async def _answer_refusal(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return refusal_response(error)


async def _answer_unreadable(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return refusal_response(_explain(error.errors()[0]))


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    """Answer what the framework itself refuses: an unknown path, a wrong method, a body too large."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return refusal_response(NotFound(f"There is no {request.url.path} here."))
    if error.status_code == 413:
        return refusal_response(RequestTooLarge(limit_bytes=BODY_BYTES_MAX))
    if error.status_code == 405:
        refusal = InvalidRequest(f"{request.url.path} does not take {request.method}.")
    else:
        refusal = InvalidRequest("The request cannot be read.")
    response = refusal_response(refusal, status=error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _answer_away(_request: Request, _error: Exception) -> JSONResponse:
    return refusal_response(
        StorageUnavailable("The service cannot reach its database at the moment. Try again shortly.")
    )


async def _answer_bug(_request: Request, _error: Exception) -> JSONResponse:
    error = {
        "code": "internal_error",
        "message": "Something went wrong on our side. The service's log has the details.",
        "type": "server_error",
        "param": None,
    }
    return JSONResponse({"error": error}, status_code=500)


def add_error_handlers(app: FastAPI) -> None:
    """Make the application answer whatever goes wrong in the one shape."""
    app.add_exception_handler(Refusal, _answer_refusal)
    app.add_exception_handler(RequestValidationError, _answer_unreadable)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(StorageAway, _answer_away)
    app.add_exception_handler(Exception, _answer_bug)
