"""Flash: one message that the page after a redirect shows, carried by a short-lived cookie.

The cookie names a string of the catalogue and its values, never a text of its own: whoever could set it gets
our words on the page and nothing else.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tokenopen.web.text import Catalogue, UnknownText

FLASH_COOKIE: Final = "tokenopen-flash"
_LIFE_S: Final = 60

Tone = Literal["good", "bad", "note"]


class _Carried(msgspec.Struct):
    key: str
    values: dict[str, str]
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """A message to show once."""

    text: str
    tone: Tone


def redirect(path: str, *, flash: str | None = None, tone: Tone = "good", **values: str) -> RedirectResponse:
    """Send the browser to another page of ours (303), with a message of the catalogue to show there."""
    assert path.startswith("/"), "only to a page of our own"
    assert not path.startswith("//"), "that names another host"
    response = RedirectResponse(path, status_code=303)
    if flash is not None:
        carried = msgspec.json.encode(_Carried(key=flash, values=values, tone=tone))
        cookie = base64.urlsafe_b64encode(carried).decode()
        response.set_cookie(FLASH_COOKIE, cookie, max_age=_LIFE_S, httponly=True, samesite="lax")
    return response


def find_flash(request: Request, text: Catalogue) -> Flash | None:
    """Return the message that the browser carries, or None; one that cannot be read is none."""
    cookie = request.cookies.get(FLASH_COOKIE)
    if cookie is None:
        return None
    try:
        carried = msgspec.json.decode(base64.urlsafe_b64decode(cookie), type=_Carried)
        return Flash(text=text(carried.key, **carried.values), tone=carried.tone)
    except (binascii.Error, ValueError, msgspec.DecodeError, UnknownText, KeyError, IndexError):
        return None


def forget_flash(response: Response) -> None:
    """Have the browser show the message no more."""
    response.delete_cookie(FLASH_COOKIE, httponly=True, samesite="lax")
