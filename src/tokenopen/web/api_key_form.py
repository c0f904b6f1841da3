"""API key forms: what people type to narrow a key, read into what is stored, and the other way round."""

import datetime
from collections.abc import Callable, Mapping
from typing import Final
from zoneinfo import ZoneInfo

from tokenopen.control.api_key import ApiKeyChanges, ApiKeyView, Narrowing
from tokenopen.core.api_key import ApiKey
from tokenopen.core.errors import InvalidRequest
from tokenopen.core.group import MODEL_PATTERN
from tokenopen.core.money import InvalidAmount, Nanocredits, format_amount, parse_amount
from tokenopen.web.form import Form
from tokenopen.web.format import at_zone
from tokenopen.web.sign_up import readable_name
from tokenopen.web.time_range import day_begins_ms, read_day
from tokenopen.web.viewer import Visit

ENTRIES_MAX: Final = 1_000


def read_name(form: Form, visit: Visit) -> str:
    """Return the key's name. Refuses InvalidRequest."""
    return readable_name(visit, form, otherwise="api_key.no_name")


def read_narrowing(form: Form, visit: Visit) -> Narrowing:
    """Return how the key narrows its group; an empty field does not. Refuses InvalidRequest at its field."""
    return Narrowing(
        models=_read_models(form, visit),
        allowed_ips=_read_list(form, visit, "allowed_ips"),
        credit_limit=_read_credit_limit(form, visit),
        expires_at_ms=_read_expiry(form, visit),
    )


def note_unreadable(form: Form, visit: Visit) -> Form:
    """Return the form with an error at each field that it holds and that cannot be read, not only at one."""
    for name, read in _READERS.items():
        try:
            if form.has(name):
                read(form, visit)
        except InvalidRequest as refusal:
            form = form.refused(refusal)
    return form


def read_changes(form: Form, visit: Visit, view: ApiKeyView) -> ApiKeyChanges:
    """Return what a form changes of a key: the fields that it holds and that say something new.

    Refuses InvalidRequest at its field.
    """
    key, changes = view.key, ApiKeyChanges()
    if form.has("name") and form.text("name") != key.name:
        changes["name"] = read_name(form, visit)
    narrowing = read_narrowing(form, visit)
    if form.has("models") and narrowing.models != key.models:
        changes["models"] = narrowing.models
    if form.has("allowed_ips") and narrowing.allowed_ips != key.allowed_ips:
        changes["allowed_ips"] = narrowing.allowed_ips
    if form.has("credit_limit") and narrowing.credit_limit != key.credit_limit:
        changes["credit_limit"] = narrowing.credit_limit
    # The form shows the last day; an end within it, set by other means, stays unless another day is chosen.
    if form.has("expires_at") and form.text("expires_at") != _last_day(key, visit.zone):
        changes["expires_at_ms"] = narrowing.expires_at_ms
    return changes


def key_fields(key: ApiKey, zone: ZoneInfo) -> dict[str, str]:
    """Return what a form shows of a key before anything was typed."""
    return {
        "name": key.name,
        "models": "\n".join(key.models or ()),
        "allowed_ips": "\n".join(key.allowed_ips or ()),
        "credit_limit": "" if key.credit_limit is None else format_amount(key.credit_limit),
        "expires_at": _last_day(key, zone),
    }


def _last_day(key: ApiKey, zone: ZoneInfo) -> str:
    return "" if key.expires_at_ms is None else at_zone(key.expires_at_ms - 1, zone).date().isoformat()


def _read_list(form: Form, visit: Visit, name: str) -> tuple[str, ...] | None:
    entries = tuple(dict.fromkeys(form.text(name).replace(",", " ").split()))
    if len(entries) > ENTRIES_MAX:
        raise InvalidRequest(visit.text("api_key.too_many", limit=ENTRIES_MAX), param=name)
    return entries or None


def _read_models(form: Form, visit: Visit) -> tuple[str, ...] | None:
    names = _read_list(form, visit, "models")
    for name in names or ():
        if not MODEL_PATTERN.fullmatch(name):
            raise InvalidRequest(visit.text("api_key.no_model_name", name=name), param="models")
    return names


def _read_credit_limit(form: Form, visit: Visit) -> Nanocredits | None:
    typed = form.text("credit_limit")
    if not typed:
        return None
    try:
        amount = parse_amount(typed)
    except InvalidAmount as error:
        raise InvalidRequest(visit.text("api_key.no_amount"), param="credit_limit") from error
    if amount < 0:
        raise InvalidRequest(visit.text("api_key.no_amount"), param="credit_limit")
    return amount


def _read_expiry(form: Form, visit: Visit) -> int | None:
    """Return the end of the day that was chosen, which the key is still good for."""
    typed = form.text("expires_at")
    if not typed:
        return None
    return day_begins_ms(read_day("expires_at", typed) + datetime.timedelta(days=1), visit.zone)


_READERS: Final[Mapping[str, Callable[[Form, Visit], object]]] = {
    "name": read_name,
    "models": _read_models,
    "credit_limit": _read_credit_limit,
    "expires_at": _read_expiry,
}
