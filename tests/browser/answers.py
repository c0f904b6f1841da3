"""Pages that only a form leads to: secrets shown once, replies, results, forms sent with mistakes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.browser.window import Window

# The browser would not send what it knows to be wrong; the server's answer is what is looked at here.
_SEND: Final = """
([action, values]) => {
  const form = document.querySelector(`form[method=post][action="${action}"]`);
  for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
  form.noValidate = true;
  form.requestSubmit();
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A form, where it stands, what is typed into it, and what the page that answers has to say.

    ``{user}`` in an address is a user's id, ``{request}`` that of an upgrade request without an answer.
    """

    on: str
    action: str
    says: str
    typed: Mapping[str, str] = field(default_factory=dict)


ANSWERS: Final[Mapping[str, tuple[Answer, ...]]] = {
    "nobody": (
        Answer(
            on="/sign-in",
            action="/sign-in",
            typed={"email": "ada@example.com", "password": "no"},
            says="is wrong",
        ),
    ),
    "newcomer": (Answer(on="/upgrade", action="/upgrade", says="Say what you need the group for"),),
    "user": (
        Answer(on="/keys/new", action="/keys", typed={"credit_limit": "much"}, says="credit"),
        Answer(on="/keys/new", action="/keys", typed={"name": "Answer"}, says="Your new API key"),
        Answer(
            on="/try",
            action="/try#answer",
            typed={"model": "gpt-4o-mini", "message": "one two three"},
            says="Whole receipt",
        ),
        Answer(on="/try", action="/try#answer", typed={"model": "none", "message": "one"}, says="none"),
        Answer(
            on="/profile",
            action="/profile/password",
            typed={"current_password": "no", "password": "no"},
            says="password",
        ),
        Answer(
            on="/profile/management-keys/new",
            action="/profile/management-keys",
            typed={"name": "Answer"},
            says="the one time that it is shown",
        ),
    ),
    "administrator": (
        Answer(
            on="/admin/groups/_new",
            action="/admin/groups",
            typed={"slug": "A B", "multiplier": "x"},
            says="multiplier",
        ),
        Answer(
            on="/admin/upstreams/new?provider=openai",
            action="/admin/upstreams",
            typed={"base_url": "x"},
            says="another look",
        ),
        Answer(on="/admin/users/new", action="/admin/users", typed={"email": "x"}, says="mail"),
        Answer(
            on="/admin/users/{user}/credit",
            action="/admin/users/{user}/credit",
            typed={"amount": "much"},
            says="amount",
        ),
        Answer(
            on="/admin/users/{user}",
            action="/admin/users/{user}/password-link",
            says="shown this one time",
        ),
        Answer(
            on="/admin/upgrade-requests/{request}",
            action="/admin/upgrade-requests/{request}/approve",
            typed={"multiplier": "x"},
            says="multiplier",
        ),
        Answer(on="/admin/settings", action="/admin/settings", typed={"time_zone": "Nowhere"}, says="zone"),
        Answer(on="/admin/models/_import", action="/admin/models/_import", says="model"),
        Answer(on="/admin/ledger/audit", action="/admin/ledger/audit", says="0 drift"),
    ),
}


def send(window: Window, answer: Answer, ids: Mapping[str, str]) -> None:
    """Open the page that a form stands on and send it; the answer is open then."""
    page = window.open(answer.on.format_map(ids))
    with page.expect_navigation():
        page.evaluate(_SEND, [answer.action.format_map(ids), dict(answer.typed)])
