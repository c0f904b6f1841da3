"""Once: a form that moves money does so one time, however often it is sent.

The form carries a token of its own, made when it was shown, and is answered as a money POST of the control
API is under its Idempotency-Key: sent again as it was, it leads where it led; with another amount it is
refused, since nobody can tell whether the first one was meant too.
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from tokenopen.control.actor import Actor
from tokenopen.control.idempotency import Answer, answer_once
from tokenopen.core.errors import Conflict, InvalidRequest
from tokenopen.ports.storage import Transaction
from tokenopen.web.form import Form
from tokenopen.web.text import Catalogue

ONCE_FIELD: Final = "once"
_TOKEN_LENGTH_MAX: Final = 100
# What a browser adds to a form that does not say what is asked.
_NOT_ASKED: Final = frozenset({ONCE_FIELD, "form_token"})


def once_token() -> str:
    """Return a token for a form that is shown."""
    return secrets.token_urlsafe(18)


async def do_once(
    tx: Transaction,
    actor: Actor,
    form: Form,
    *,
    path: str,
    text: Catalogue,
    act: Callable[[], Awaitable[str]],
) -> str:
    """Return what ``act`` returns, the id of what it made, or what it returned for this form before.

    Refuses InvalidRequest without the form's token, and Conflict where the form was sent with other values.
    """
    token = form.text(ONCE_FIELD)
    if not 0 < len(token) <= _TOKEN_LENGTH_MAX:
        raise InvalidRequest(text("form.once_missing"))
    asked = {name: list(values) for name, values in form.values.items() if name not in _NOT_ASKED}
    acted = False

    async def answer() -> Answer:
        nonlocal acted
        acted = True
        return Answer(status=303, body=(await act()).encode())

    try:
        done = await answer_once(
            tx, actor, key=f"form {token}", request={"path": path, "form": asked}, act=answer
        )
    except Conflict as conflict:
        if acted:
            raise
        raise Conflict(text("form.once_used")) from conflict
    return done.body.decode()
