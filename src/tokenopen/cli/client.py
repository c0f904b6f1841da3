"""Client: the control API as the commands use it. What goes wrong becomes one line that says what to do."""

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from tokenopen.cli.setting import ControlError
from tokenopen.settings import Settings

Json = Any

_TIMEOUT: Final = httpx.Timeout(90, connect=5)
_PAGE_LIMIT: Final = 200
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - not bound to
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_SET_KEY: Final = (
    "Set TOKENOPEN_ADMIN_KEY to a management key (tokenopen serve prints one at its first start), "
    "or pass --admin-key."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the control API answered: the text as it came, and the JSON in it (None where there is none)."""

    text: str
    data: Json


def base_url(settings: Settings) -> str:
    """Return where the server that has these settings can be reached from this machine."""
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


@contextlib.contextmanager
def open_client(
    *, url: str, key: str, transport: httpx.BaseTransport | None = None
) -> Iterator["ControlClient"]:
    """Yield a client with a management key. Raises ControlError for what is no address or no key."""
    if not key:
        raise ControlError(f"A management key is needed. {_SET_KEY}")
    if not (key.isascii() and key.isprintable()):
        raise ControlError(f"The management key holds characters that no key has. {_SET_KEY}")
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ControlError(f"{url} is no address ({error}). Write --url http://HOST:PORT") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise ControlError(f"{url} is no address. Write --url http://HOST:PORT")
    with httpx.Client(
        base_url=address,
        headers={"Authorization": f"Bearer {key}"},
        timeout=_TIMEOUT,
        transport=transport,
        # A proxy set for the outside world knows no way to this machine.
        trust_env=address.host not in _LOOPBACK,
    ) as http:
        yield ControlClient(http, str(address).rstrip("/"))


def path_of(*parts: str) -> str:
    """Return a path under /api, each part quoted: a model's name may hold a slash."""
    return "/api/" + "/".join(quote(part, safe="") for part in parts)


class ControlClient:
    """Sends requests to the control API. Every method raises ControlError for anything but success."""

    def __init__(self, http: httpx.Client, url: str) -> None:
        self._http = http
        self.url = url

    def get(self, path: str, **query: str | int | bool | None) -> Answer:
        """Read one thing, or one page of a list; a query parameter that is None is not sent."""
        return self._send("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, Json] | None = None) -> Answer:
        """Create a thing, or do something to one."""
        return self._send("POST", path, body=body)

    def put(self, path: str, body: Mapping[str, Json]) -> Answer:
        """Put a thing in the place of what may be there."""
        return self._send("PUT", path, body=body)

    def patch(self, path: str, body: Mapping[str, Json]) -> Answer:
        """Change the fields that are named."""
        return self._send("PATCH", path, body=body)

    def delete(self, path: str) -> Answer:
        """Remove a thing."""
        return self._send("DELETE", path)

    def post_money(self, path: str, body: Mapping[str, Json], *, idempotency_key: str | None) -> Answer:
        """Move credit, once: a request whose answer was lost is sent again under the same Idempotency-Key."""
        key = idempotency_key or str(uuid.uuid4())
        headers = {"Idempotency-Key": key}
        try:
            return self._send("POST", path, body=body, headers=headers)
        except _AnswerLost:
            pass
        try:
            return self._send("POST", path, body=body, headers=headers)
        except (_AnswerLost, _NotReached) as error:
            raise ControlError(
                f"{error} Whether the credit was moved is not known; it is moved once only if you repeat "
                f"the command with --idempotency-key {key}"
            ) from None

    def list_all(self, path: str, **query: str | int | bool | None) -> list[Json]:
        """Return every item of a list, page after page."""
        items: list[Json] = []
        cursor: str | None = None
        while True:
            page = self.get(path, **query, limit=_PAGE_LIMIT, cursor=cursor).data
            items += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items

    def find_user_id(self, reference: str) -> str:
        """Return the id of the user with an id or a mail address. Raises ControlError."""
        if "@" not in reference:
            return reference
        users = self.get("/api/admin/users", email=reference).data["data"]
        if not users:
            raise ControlError(f"There is no user {reference}. tokenopen users list shows them.")
        return str(users[0]["id"])

    def is_administrator(self) -> bool:
        """Tell whether the management key's user may ask for what is everybody's."""
        return bool(self.get("/api/me").data["role"] == "administrator")

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | bool | None] | None = None,
        body: Mapping[str, Json] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        named = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            response = self._http.request(method, path, params=named, json=body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise _NotReached(
                f"No TokenOpen at {self.url}. Start it with: tokenopen serve (or name another address "
                "with --url, or TOKENOPEN_HOST and TOKENOPEN_PORT)"
            ) from None
        except httpx.HTTPError as error:
            raise _AnswerLost(f"{self.url} gave no answer ({type(error).__name__}).") from None
        return self._read(response)

    def _read(self, response: httpx.Response) -> Answer:
        data: Json = None
        if response.content:
            try:
                data = response.json()
            except ValueError:
                raise self._not_ours(response) from None
        if response.is_success:
            return Answer(text=response.text, data=data)
        if not (isinstance(data, dict) and isinstance(data.get("error"), dict)):
            raise self._not_ours(response)
        error = data["error"]
        message, code = str(error.get("message")), str(error.get("code"))
        if response.status_code == 401:
            message = f"{message} {_SET_KEY}"
        raise ControlError(message, code=code)

    def _not_ours(self, response: httpx.Response) -> ControlError:
        return ControlError(
            f"{self.url} does not answer as TokenOpen's control API does (status {response.status_code}). "
            "Check --url, or TOKENOPEN_HOST and TOKENOPEN_PORT."
        )


class _NotReached(ControlError):
    """Nothing was sent."""


class _AnswerLost(ControlError):
    """The request was sent, or a part of it; whether it was carried out is not known."""
