"""Error pages: what a browser is shown, and what a program is told, where there is no page to give."""

from typing import Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tokenopen.core.errors import Refusal, RequestForged, StorageUnavailable
from tokenopen.ports.storage import StorageAway
from tokenopen.web.render import render

_log = structlog.get_logger()

# Statuses with words of their own in strings/*/error.toml; any other is worded as a request that failed.
_WORDED: Final = frozenset({403, 404, 405, 410, 413, 500, 503})
_CODES: Final = {404: "not_found", 405: "invalid_request", 413: "request_too_large", 500: "internal_error"}


def wants_page(request: Request) -> bool:
    """Tell whether a browser asks, or a program that would not know what to do with a page."""
    return "text/html" in request.headers.get("accept", "")


def error_page(
    request: Request, *, status: int, code: str, message: str = "", retry_after_s: int | None = None
) -> Response:
    """Answer with what went wrong: a page for browsers, JSON in the control API's shape for programs."""
    visit = request.state.visit
    kind = "forged" if code == RequestForged.code else str(status) if status in _WORDED else "other"
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    if not wants_page(request):
        error = {"code": code, "message": message or visit.text(f"error.{kind}.text")}
        return JSONResponse({"error": error}, status_code=status, headers=headers)
    response = render(
        request, "error.html", status=status, number=status, kind=kind, code=code, message=message
    )
    response.headers.update(headers)
    return response


async def answer_refusal(request: Request, error: Exception) -> Response:
    """Answer a refusal that no page caught."""
    assert isinstance(error, Refusal)
    return error_page(
        request,
        status=error.status,
        code=error.code,
        message=error.message,
        retry_after_s=error.retry_after_s,
    )


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "invalid_request")
    response = error_page(request, status=error.status_code, code=code)
    response.headers.update(error.headers or {})
    return response


async def _answer_unreadable(request: Request, _error: Exception) -> Response:
    return error_page(request, status=400, code="invalid_request")


async def _answer_away(request: Request, _error: Exception) -> Response:
    return error_page(
        request, status=503, code=StorageUnavailable.code, retry_after_s=StorageUnavailable().retry_after_s
    )


async def _answer_bug(request: Request, error: Exception) -> Response:
    # The route, not the address, which may hold a one-time link's token.
    route = getattr(request.scope.get("route"), "path", "")
    _log.error("page_failed", route=route, exc_info=error)
    return error_page(request, status=500, code="internal_error")


def add_error_pages(app: FastAPI) -> None:
    """Have the application answer whatever goes wrong by itself."""
    app.add_exception_handler(Refusal, answer_refusal)
    app.add_exception_handler(RequestValidationError, _answer_unreadable)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(StorageAway, _answer_away)
    app.add_exception_handler(Exception, _answer_bug)
