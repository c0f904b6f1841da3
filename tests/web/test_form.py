"""Forms: what was sent is read once, within bounds, and shown again with what was wrong."""

import httpx
import pytest
from fastapi import FastAPI, Request

from tokenopen.core.errors import Conflict, InvalidRequest, Refusal
from tokenopen.web.form import FORM_BYTES_MAX, Form, read_form

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def client() -> httpx.AsyncClient:
    """Sends forms, and is told what was read."""
    app = FastAPI()

    @app.post("/")
    async def tell(request: Request) -> dict[str, list[str]]:
        try:
            form = await read_form(request)
            assert await read_form(request) is form
        except Refusal as refusal:
            return {"refused": [refusal.code]}
        return {name: list(values) for name, values in form.values.items()}

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://form")


async def test_every_value_is_read_as_it_was_typed(client: httpx.AsyncClient) -> None:
    body = "name=+Nightly+%26+co%C3%BC&model=a&model=b&empty="
    answer = await client.post("/", content=body, headers={"content-type": f"{FORM}; charset=utf-8"})
    assert answer.json() == {"name": [" Nightly & co\u00fc"], "model": ["a", "b"], "empty": [""]}


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"a=" + b"x" * FORM_BYTES_MAX, FORM, "request_too_large"),
        (b"a=%ff", FORM, "invalid_request"),
        (b"\xff=1", FORM, "invalid_request"),
        (b"&".join(b"a=1" for _ in range(1_001)), FORM, "invalid_request"),
        (b'{"a": 1}', "application/json", "invalid_request"),
    ],
)
async def test_what_is_no_form_is_refused(
    client: httpx.AsyncClient, body: bytes, content_type: str, code: str
) -> None:
    answer = await client.post("/", content=body, headers={"content-type": content_type})
    assert answer.json() == {"refused": [code]}


def test_a_refusal_stands_at_the_field_it_names_or_above_all() -> None:
    form = Form(values={"slug": [" vip "], "password": [" secret "]})
    assert form.text("slug") == "vip"
    assert form.text("name", "as before") == "as before"
    assert form.secret("password") == " secret "
    at_field = form.refused(InvalidRequest("Too long.", param="slug"))
    assert at_field.errors == {"slug": "Too long."}
    assert at_field.message == ""
    above = at_field.refused(Conflict("Somebody changed it."))
    assert above.message == "Somebody changed it."
    assert above.errors == at_field.errors
    assert above.wrong(name="Needed.").errors == {"slug": "Too long.", "name": "Needed."}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("slug: it is taken.", "It is taken."),
        ("slug must be short.", "Must be short."),
        ("slug is missing.", "slug is missing."),
        ("Slugs must be short.", "Slugs must be short."),
    ],
)
def test_beside_its_field_a_refusal_does_not_name_it_as_programs_do(message: str, shown: str) -> None:
    assert Form().refused(InvalidRequest(message, param="slug")).errors == {"slug": shown}
