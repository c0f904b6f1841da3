"""Form: what a browser sent with a form, and what is shown beside its fields when it was refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request

from tokenopen.core.errors import InvalidRequest, Refusal, RequestTooLarge

FORM_BYTES_MAX: Final = 2**20
_FIELDS_MAX: Final = 1_000
_TYPE: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The values of a form by field, as typed; ``errors`` stand at their field, ``message`` above all."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    message: str = ""

    def text(self, name: str, default: str = "") -> str:
        """Return a field's text without space around it."""
        return self.values.get(name, (default,))[0].strip()

    def secret(self, name: str) -> str:
        """Return a field's text as it was typed: a password may begin with a space."""
        return self.values.get(name, ("",))[0]

    def all(self, name: str) -> Sequence[str]:
        """Return every value of a field that may have several, such as boxes that are ticked."""
        return self.values.get(name, ())

    def has(self, name: str) -> bool:
        """Tell whether a box is ticked, or a field is there at all."""
        return name in self.values

    def refused(self, refusal: Refusal) -> "Form":
        """Return the form with a refusal at the field that it names, or above all fields."""
        param = refusal.facts.get("param")
        if isinstance(param, str):
            return self.wrong(**{param: _beside_field(refusal.message, param)})
        return Form(values=self.values, errors=self.errors, message=refusal.message)

    def wrong(self, **errors: str) -> "Form":
        """Return the form with errors at fields."""
        return Form(values=self.values, errors={**self.errors, **errors}, message=self.message)


def _beside_field(message: str, name: str) -> str:
    """Return a message without the field's name, which tells programs, not people, what it is about."""
    if not message.startswith((f"{name}: ", f"{name} must ")):
        return message
    said = message[len(name) :].removeprefix(":").lstrip()
    return said[:1].upper() + said[1:]


async def read_form(request: Request) -> Form:
    """Return the form that a request carries; it is read once. Refuses RequestTooLarge, InvalidRequest."""
    if not hasattr(request.state, "form"):
        request.state.form = await _read(request)
    form = request.state.form
    assert isinstance(form, Form)
    return form


async def _read(request: Request) -> Form:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise RequestTooLarge(limit_bytes=FORM_BYTES_MAX)
    if not body:
        return Form()
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise InvalidRequest(f"Send the form as {_TYPE}.")
    try:
        values = parse_qs(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=_FIELDS_MAX, errors="strict"
        )
    except ValueError as error:
        raise InvalidRequest("The form cannot be read.") from error
    return Form(values=values)
