"""Session: whose browser asks for a page, and whether what it sends comes from a page of ours.

Before anything is changed a request proves twice that one of our own pages sent it: by Origin or
Sec-Fetch-Site, and by the form token, which belongs to the session, or for somebody who is not signed in to
a cookie that their browser was given with the form.
"""

import hmac
import secrets
from typing import Any, Final
from urllib.parse import quote, urlsplit

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tokenopen.control.services import Services
from tokenopen.control.session import Browser, find_signed_in
from tokenopen.core.errors import (
    AccountSuspended,
    PasswordRequired,
    Refusal,
    RequestForged,
    SessionEnded,
    StorageUnavailable,
)
from tokenopen.core.session import SESSION_LONGEST_MS, form_token_of
from tokenopen.core.site import FORM_TOKEN_HEADER, SAFE_METHODS, Site, client_address, find_site
from tokenopen.web.error_page import answer_refusal, wants_page
from tokenopen.web.form import read_form
from tokenopen.web.render import render
from tokenopen.web.viewer import Viewer, Visit, find_services, find_visit

FORM_TOKEN_FIELD: Final = "form_token"  # noqa: S105 the name of a field
SIGN_IN_PATH: Final = "/sign-in"
CONFIRM_PASSWORD_PATH: Final = "/confirm-password"  # noqa: S105 a path
_START_PATH: Final = "/"


async def recognize(services: Services, request: Request, visit: Visit) -> None:
    """Note on the visit who is signed in, and the token that their forms carry."""
    site = _find_site(services, request)
    if site is None:
        return
    token = request.cookies.get(site.session_cookie)
    if token:
        try:
            signed_in = await find_signed_in(services.storage, token, services.hashing_key)
        except (SessionEnded, AccountSuspended):
            pass
        else:
            visit.viewer = Viewer(actor=signed_in.actor, name=signed_in.name)
            visit.form_token = form_token_of(token, services.hashing_key)
            return
    visiting = request.cookies.get(site.visit_cookie)
    if visiting:
        visit.form_token = form_token_of(visiting, services.hashing_key)


def _find_site(services: Services, request: Request) -> Site | None:
    return find_site(public_url=services.public_url, host=request.headers.get("host", ""))


def find_site_of(request: Request) -> Site | None:
    """Return the site that a request was made to; None where no session may exist, over plain HTTP."""
    return _find_site(find_services(request), request)


def get_site(request: Request) -> Site:
    """Return the site that a request was made to. Refuses RequestForged where no session may exist."""
    site = find_site_of(request)
    if site is None:
        raise RequestForged(find_visit(request).text("sign_in.insecure_text"))
    return site


def find_browser(request: Request) -> Browser:
    """Return what a request tells of the browser that sent it."""
    return Browser(
        user_agent=request.headers.get("user-agent", ""),
        address=client_address(
            peer=request.client.host if request.client else "",
            forwarded_for=request.headers.get("x-forwarded-for"),
            behind_proxy=find_services(request).public_url.startswith("https://"),
        ),
    )


def session_token(request: Request) -> str | None:
    """Return the session's token that a browser came with, whether it is good for anything or not."""
    return request.cookies.get(get_site(request).session_cookie)


async def refuse_forged(request: Request) -> None:
    """Let only our own pages change something; every route that does depends on it.

    Refuses RequestForged, SessionEnded where a page was left open for too long, StorageUnavailable.
    """
    if request.method in SAFE_METHODS:
        return
    visit = find_visit(request)
    if visit.storage_is_away:
        raise StorageUnavailable
    site = get_site(request)
    headers = request.headers
    if not site.sent(origin=headers.get("origin"), fetch_site=headers.get("sec-fetch-site")):
        raise RequestForged(visit.text("sign_in.forged_origin"))
    sent = headers.get(FORM_TOKEN_HEADER) or (await read_form(request)).secret(FORM_TOKEN_FIELD)
    if visit.form_token and hmac.compare_digest(sent.encode(), visit.form_token.encode()):
        return
    if visit.viewer is None and request.cookies.get(site.session_cookie):
        raise SessionEnded
    raise RequestForged(visit.text("sign_in.forged_token"))


def render_form(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """Answer with a page whose form somebody may send who is not signed in."""
    site = get_site(request)
    visit = find_visit(request)
    token = None
    if not visit.form_token:
        token = secrets.token_urlsafe(32)
        visit.form_token = form_token_of(token, find_services(request).hashing_key)
    response = render(request, template, status=status, **context)
    if token is not None:
        # It ends with the browser: nothing hangs on it but an open form.
        response.set_cookie(
            site.visit_cookie, token, path="/", secure=site.is_secure, httponly=True, samesite="lax"
        )
    return response


def give_session(request: Request, response: Response, token: str) -> Response:
    """Have the browser keep a session's token, and forget the one that its forms had before."""
    site = get_site(request)
    response.set_cookie(
        site.session_cookie,
        token,
        max_age=SESSION_LONGEST_MS // 1000,
        path="/",
        secure=site.is_secure,
        httponly=True,
        samesite="lax",
    )
    return _forget(response, site, site.visit_cookie)


def forget_session(request: Request, response: Response) -> Response:
    """Have the browser forget the session's token."""
    site = get_site(request)
    return _forget(response, site, site.session_cookie)


def _forget(response: Response, site: Site, name: str) -> Response:
    response.delete_cookie(name, path="/", secure=site.is_secure, httponly=True, samesite="lax")
    return response


def own_path(text: str) -> str:
    """Return the path of one of our own pages, with its query; the start page for anything else."""
    # Browsers read \ as / and drop tabs and line breaks, so /\evil.example.net leads elsewhere.
    plain = text.isprintable() and text.isascii() and not any(sign in text for sign in '\\ "')
    if not plain or not text.startswith("/") or text.startswith("//"):
        return _START_PATH
    return text


def landing_path(request: Request, wanted: str = _START_PATH) -> str:
    """Return where a browser goes once it is signed in: where it wanted to, else home."""
    path = own_path(wanted)
    if path != _START_PATH:
        return path
    return "/home" if "/home" in request.app.state.paths else "/profile"


def require_recent_password(request: Request) -> None:
    """Have the password confirmed first where it was given too long ago. Refuses PasswordRequired.

    For pages on which credentials, credit or roles are changed; the use cases ask again.
    """
    visit = find_visit(request)
    if visit.viewer is None:
        raise SessionEnded
    visit.viewer.actor.require_recent_password(visit.now_ms)


def _page_path(request: Request) -> str:
    """Return the page that a browser is to come back to: the one asked for, or the one a form stood on."""
    if request.method in SAFE_METHODS:
        query = f"?{request.url.query}" if request.url.query else ""
        return own_path(request.url.path + query)
    parts = urlsplit(request.headers.get("referer", ""))
    site = find_site_of(request)
    if site is None or f"{parts.scheme}://{parts.netloc}" not in site.origins:
        return _START_PATH
    return own_path(f"{parts.path}?{parts.query}" if parts.query else parts.path)


async def _lead_elsewhere(request: Request, path: str, refusal: Exception) -> Response:
    target = f"{path}?next={quote(_page_path(request), safe='/')}"
    if request.headers.get("hx-request") == "true":
        # A redirect would put the other page inside this one.
        return Response(headers={"hx-redirect": target})
    if not wants_page(request):
        return await answer_refusal(request, refusal)
    return RedirectResponse(target, status_code=303)


async def _answer_ended(request: Request, refusal: Exception) -> Response:
    return await _lead_elsewhere(request, SIGN_IN_PATH, refusal)


async def _answer_password_required(request: Request, refusal: Exception) -> Response:
    return await _lead_elsewhere(request, CONFIRM_PASSWORD_PATH, refusal)


def add_session_answers(app: FastAPI) -> None:
    """Have browsers that must sign in, or give their password anew, led to where they can."""
    handlers: dict[type[Refusal], Any] = {
        SessionEnded: _answer_ended,
        PasswordRequired: _answer_password_required,
    }
    for refusal, handler in handlers.items():
        app.add_exception_handler(refusal, handler)
