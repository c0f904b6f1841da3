"""Render: templates to pages, with what every page shows and the words and formats they share."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from tokenopen import __version__
from tokenopen.core.money import Nanocredits
from tokenopen.web import format as as_text
from tokenopen.web.flash import find_flash, forget_flash
from tokenopen.web.menu import ADMINISTRATOR_MENU, USER_MENU, current_entry
from tokenopen.web.once import once_token
from tokenopen.web.static_file import StaticFiles
from tokenopen.web.viewer import Visit, find_visit

TEMPLATES: Final = Path(__file__).parent / "templates"
_SYMBOL: Final = re.compile(r'<symbol id="([a-z-]+)"[^>]*>(.*?)</symbol>', re.DOTALL)


def _load_icons(path: Path) -> Mapping[str, str]:
    return {name: shape.strip() for name, shape in _SYMBOL.findall(path.read_text(encoding="utf-8"))}


def _icon_maker(icons: Mapping[str, str]) -> Callable[[str], Markup]:
    def icon(name: str) -> Markup:
        """Return a drawing that says nothing to those who cannot see it; its neighbour is the label."""
        # Ours, from a file of the package: nothing of it came from outside.
        return Markup(  # noqa: S704
            '<svg class="icon" viewBox="0 0 24 24" width="16" height="16" aria-hidden="true" '
            f'focusable="false">{icons[name]}</svg>'
        )

    return icon


def _visit(context: Context) -> Visit:
    visit = context["visit"]
    assert isinstance(visit, Visit)
    return visit


def _time(instant_ms: int, shown: str) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(as_text.machine_instant(instant_ms), shown)


def _time_in_short(instant_ms: int, shown: str, zone: ZoneInfo) -> Markup:
    """Return the same with the whole instant where somebody points at it."""
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        as_text.machine_instant(instant_ms), as_text.instant_to_second(instant_ms, zone), shown
    )


@pass_context
def _instant(context: Context, instant_ms: int) -> Markup:
    zone = _visit(context).zone
    return _time_in_short(instant_ms, as_text.instant(instant_ms, zone), zone)


@pass_context
def _instant_to_second(context: Context, instant_ms: int) -> Markup:
    return _time(instant_ms, as_text.instant_to_second(instant_ms, _visit(context).zone))


@pass_context
def _instant_in_two_lines(context: Context, instant_ms: int) -> Markup:
    zone = _visit(context).zone
    time_of_day = as_text.time_of_day(instant_ms, zone)
    lines = Markup('{} <span class="time-of-day">{}</span>').format(
        as_text.day(instant_ms, zone), time_of_day
    )
    return _time(instant_ms, lines)


@pass_context
def _day(context: Context, instant_ms: int) -> Markup:
    return _time(instant_ms, as_text.day(instant_ms, _visit(context).zone))


@pass_context
def _ago(context: Context, instant_ms: int) -> Markup:
    visit = _visit(context)
    passed_ms = visit.now_ms - instant_ms
    text = visit.text("common.just_now")
    if passed_ms >= 60_000:
        text = visit.text("common.ago", duration=as_text.duration(passed_ms).rsplit(" ", 2)[0])
        if as_text.duration(passed_ms).count(" ") == 1:
            text = visit.text("common.ago", duration=as_text.duration(passed_ms))
    return _time_in_short(instant_ms, text, visit.zone)


def _credits(amount: Nanocredits) -> Markup:
    exact = as_text.credits_exact(amount)
    return Markup('<data class="amount" value="{}" title="{}">{}</data>').format(
        exact.replace(",", ""), exact, as_text.credits_short(amount)
    )


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "credits": _credits,
    "credits_exact": as_text.credits_exact,
    "rate": as_text.rate,
    "multiplier": as_text.multiplier,
    "number": as_text.number,
    "number_short": as_text.number_short,
    "share": as_text.share,
    "duration": as_text.duration,
    "browser": as_text.browser,
    "instant": _instant,
    "instant_to_second": _instant_to_second,
    "instant_in_two_lines": _instant_in_two_lines,
    "day": _day,
    "ago": _ago,
}


def create_environment(static_files: StaticFiles) -> Environment:
    """Return the templates; what a page did not get is an error, not a blank."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(FILTERS)
    environment.globals.update(
        icon=_icon_maker(_load_icons(TEMPLATES / "icons.svg")),
        asset=static_files.url,
        has_asset=static_files.has,
        version=__version__,
        once_token=once_token,
    )
    return environment


def page_html(request: Request, template: str, **context: Any) -> str:
    """Return a page's text. ``request.app.state`` holds the templates and the paths that there are."""
    visit = find_visit(request)
    state = request.app.state
    path = request.url.path

    def url_with(**changes: str | None) -> str:
        """Return this page's address with some of its query changed; None takes a name out."""
        query = {**dict(request.query_params), **changes}
        kept = {name: value for name, value in query.items() if value is not None}
        return f"{path}?{urlencode(kept)}" if kept else path

    menus = {
        "user_menu": [entry for entry in USER_MENU if entry.path in state.paths],
        "administrator_menu": [entry for entry in ADMINISTRATOR_MENU if entry.path in state.paths],
        "current": current_entry([*USER_MENU, *ADMINISTRATOR_MENU], path),
    }
    html: str = state.templates.get_template(template).render(
        {
            "t": visit.text,
            "visit": visit,
            "viewer": visit.viewer,
            "platform": visit.platform,
            "form_token": visit.form_token,
            "path": path,
            "paths": state.paths,
            "query": request.query_params,
            "url_with": url_with,
            "flash": find_flash(request, visit.text),
            **menus,
            **context,
        }
    )
    return html


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """Answer with a page. A page of somebody who is signed in is kept by no cache."""
    visit = find_visit(request)
    response = HTMLResponse(page_html(request, template, **context), status_code=status)
    personal = visit.viewer is not None or visit.form_token
    response.headers["cache-control"] = "no-store" if personal else "no-cache"
    response.headers["vary"] = "cookie, accept-language, accept"
    response.headers["content-language"] = visit.text.language
    if find_flash(request, visit.text) is not None:
        forget_flash(response)
    return response
