"""Try it: a call that is made from the page, with one of one's own keys, and charged like any other.

The key's secret is kept nowhere, so the call runs in this process by the key's keyed hash, through the same
pipeline as the callers' (docs/decisions/0020-calls-from-the-console.md).
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from tokenopen.control.api_key import ApiKeyView, find_my_key_hash, list_my_usable_api_keys
from tokenopen.control.receipt import Receipt, get_receipt
from tokenopen.control.services import Services
from tokenopen.core.catalog import Model, Prices
from tokenopen.core.errors import InvalidRequest, NotFound
from tokenopen.core.usage import TOKEN_CLASSES
from tokenopen.gateway.made_call import MadeCall, MakeCall
from tokenopen.storage.offered_model import list_offered_models
from tokenopen.web.form import Form, read_form
from tokenopen.web.receipt import ReceiptView, receipt_view
from tokenopen.web.refusal import RefusalView, explain
from tokenopen.web.render import render
from tokenopen.web.session import find_browser
from tokenopen.web.text import UnknownText
from tokenopen.web.viewer import CurrentServices, CurrentViewer, CurrentVisit, Viewer, Visit

router = APIRouter()

PATH: Final = "/v1/chat/completions"
MESSAGE_CHARACTERS_MAX: Final = 100_000
OUTPUT_TOKENS_DEFAULT: Final = 500
OUTPUT_TOKENS_MAX: Final = 100_000
# Keeps these apart from what applications send as their Idempotency-Key.
_ONCE_PREFIX: Final = "try-it-"
_PAUSES_S: Final = (0.05,) * 10 + (0.25,) * 10
_NOT_FACTS: Final = frozenset({"message", "type", "param", "code"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a call can be made with: the keys that are switched on, and the models their groups allow."""

    keys: Sequence[ApiKeyView]
    models: Sequence[Model]

    def models_of(self, key_id: str) -> Sequence[Model]:
        """Return the models that a key may call."""
        views = [view for view in self.keys if view.key.id == key_id]
        return [model for model in self.models if any(_may_call(view, model.name) for view in views)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a call: its words and its receipt, or why it was refused.

    ``error`` is what a provider said that would not answer, or what went wrong on our side.
    """

    call_id: str
    words: str = ""
    is_cut: bool = False
    is_repeated: bool = False
    error: str = ""
    raw: str = ""
    receipt: ReceiptView | None = None
    refusal: RefusalView | None = None


def _may_call(view: ApiKeyView, model: str) -> bool:
    return view.terms.allows(model) and not view.key.narrows_away(model)


async def _load_choices(services: Services, viewer: Viewer) -> Choices:
    async with services.storage.read() as tx:
        keys = await list_my_usable_api_keys(tx, viewer.actor)
        offered = await list_offered_models(tx)
    active = [view for view in keys if view.key.state == "active"]
    reachable = [model for model in offered if any(_may_call(view, model.name) for view in active)]
    return Choices(keys=active, models=reachable)


def _first_model(choices: Choices, key_id: str) -> str:
    """Return a model to begin with: the cheapest that writes text, as far as prices tell."""
    found = choices.models_of(key_id)
    priced = [(_tokens_price(model.price_revisions[-1].prices), model) for model in found]
    writing = [pair for pair in priced if pair[1].price_revisions[-1].prices.per_million["output"]]
    return min(writing or priced, key=lambda pair: pair[0])[1].name if priced else ""


def _tokens_price(prices: Prices) -> int:
    return sum(prices.per_million[unit_class] for unit_class in TOKEN_CLASSES)


def _render(
    request: Request,
    choices: Choices,
    form: Form,
    *,
    answer: Answer | None = None,
    status: int = 200,
) -> Response:
    key_id = form.text("key") or request.query_params.get("key", "")
    if all(view.key.id != key_id for view in choices.keys):
        key_id = choices.keys[0].key.id if choices.keys else ""
    return render(
        request,
        "try_it/try_it.html",
        status=status,
        choices=choices,
        form=form,
        key_id=key_id,
        model=request.query_params.get("model") or _first_model(choices, key_id),
        once=secrets.token_hex(16),
        answer=answer,
        default_tokens=str(OUTPUT_TOKENS_DEFAULT),
        tokens_max=OUTPUT_TOKENS_MAX,
        message_max=MESSAGE_CHARACTERS_MAX,
    )


@router.get("/try")
async def show_try_it(request: Request, services: CurrentServices, viewer: CurrentViewer) -> Response:
    """The form; ``key`` and ``model`` in the address are chosen already."""
    return _render(request, await _load_choices(services, viewer), Form())


@router.post("/try")
async def try_it(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit
) -> Response:
    """Make a call. A page that is sent again shows the same reply again, and nothing is charged twice."""
    form = await read_form(request)
    choices = await _load_choices(services, viewer)
    wrong = _wrong(form, visit)
    if wrong:
        return _render(request, choices, form.wrong(**wrong), status=InvalidRequest.status)
    try:
        async with services.storage.read() as tx:
            key_hash = await find_my_key_hash(tx, viewer.actor, form.text("key"))
    except NotFound:
        unknown = form.wrong(key=visit.text("try_it.no_such_key"))
        return _render(request, choices, unknown, status=NotFound.status)
    make_call: MakeCall | None = request.app.state.make_call
    assert make_call is not None, "these pages have no gateway behind them"
    # No transaction is open meanwhile.
    made = await make_call(
        path=PATH,
        key_hash=key_hash,
        body=_body(form),
        address=find_browser(request).address,
        idempotency_key=f"{_ONCE_PREFIX}{form.text('once')}".encode("ascii", "replace"),
    )
    view = next((view for view in choices.keys if view.key.id == form.text("key")), None)
    answer = await _read_answer(services, viewer, visit, made, view)
    return _render(request, choices, form, answer=answer)


def _wrong(form: Form, visit: Visit) -> Mapping[str, str]:
    """Return what is wrong with the form, by field."""
    wrong = {
        name: visit.text(f"try_it.no_{name}")
        for name in ("key", "model", "message")
        if not form.text(name).strip()
    }
    if len(form.text("message")) > MESSAGE_CHARACTERS_MAX:
        wrong["message"] = visit.text("try_it.message_too_long")
    tokens = form.text("max_tokens").strip()
    if tokens and not (tokens.isascii() and tokens.isdigit() and 0 < int(tokens[:9]) <= OUTPUT_TOKENS_MAX):
        wrong["max_tokens"] = visit.text("try_it.wrong_max_tokens", most=f"{OUTPUT_TOKENS_MAX:,}")
    return wrong


def _body(form: Form) -> bytes:
    body: dict[str, Any] = {
        "model": form.text("model").strip(),
        "messages": [{"role": "user", "content": form.text("message")}],
    }
    if tokens := form.text("max_tokens").strip():
        body["max_completion_tokens"] = int(tokens)
    return msgspec.json.encode(body)


async def _read_answer(
    services: Services, viewer: Viewer, visit: Visit, made: MadeCall, key: ApiKeyView | None
) -> Answer:
    call_id = made.headers.get("x-request-id", "")
    receipt = await _find_receipt(services, viewer, call_id)
    view = None if receipt is None else receipt_view(receipt, visit.text)
    value = _decode(made.body)
    raw = msgspec.json.format(made.body, indent=2).decode() if value is not None else ""
    if made.status == 200 and made.is_whole:
        words, is_cut = _words(value)
        return Answer(
            call_id=call_id,
            words=words,
            is_cut=is_cut,
            is_repeated="x-tokenopen-replayed" in made.headers,
            raw=raw,
            receipt=view,
        )
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return Answer(call_id=call_id, error=visit.text("try_it.cut"), receipt=view)
    message = str(error.get("message") or visit.text("try_it.cut"))
    if view is not None:
        return Answer(call_id=call_id, error=message, raw=raw, receipt=view)
    return Answer(call_id=call_id, error=message, refusal=_refusal(visit, made, error, call_id, key))


async def _find_receipt(services: Services, viewer: Viewer, call_id: str) -> Receipt | None:
    """Return the receipt of a call that has just been answered; None where it was refused.

    Only a charge is written before the answer: that a call was free follows a moment later.
    """
    for pause_s in _PAUSES_S:
        try:
            async with services.storage.read() as tx:
                receipt = await get_receipt(tx, viewer.actor.account_id, call_id)
        except NotFound:
            return None
        if receipt.call.state != "held":
            break
        await asyncio.sleep(pause_s)
    return receipt


def _refusal(
    visit: Visit, made: MadeCall, error: Mapping[str, Any], call_id: str, key: ApiKeyView | None
) -> RefusalView | None:
    facts = {name: fact for name, fact in error.items() if name not in _NOT_FACTS}
    retry_after = made.headers.get("retry-after", "")
    if retry_after.isdigit():
        facts["retry_after_s"] = int(retry_after)
    try:
        return explain(
            visit.text,
            code=str(error.get("code")),
            message=str(error.get("message")),
            facts=facts,
            at_ms=visit.now_ms,
            call_id=call_id,
            group_slug=None if key is None else key.terms.group.description.slug,
        )
    except UnknownText:
        # Trouble on our side, which has a message and no advice.
        return None


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _words(value: Any) -> tuple[str, bool]:
    """Return what a chat completion says, and whether its maximum cut it; nothing where it is none."""
    try:
        choice = value["choices"][0]
        content = choice["message"].get("content")
        is_cut = choice.get("finish_reason") == "length"
    except (KeyError, IndexError, TypeError, AttributeError):
        return "", False
    return (content if isinstance(content, str) else ""), is_cut
