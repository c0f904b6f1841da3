"""Upstream form: the settings of an upstream, read as typed, and filled from an upstream."""

from typing import Any, Final

from tokenopen.control.upstream import (
    BASE_URL_LENGTH_MAX,
    PRIORITY_MAX,
    TIMEOUT_MS_MAX,
    TIMEOUT_MS_MIN,
    WEIGHT_MAX,
    UpstreamChanges,
    UpstreamRecord,
)
from tokenopen.core.errors import InvalidRequest
from tokenopen.core.money import format_multiplier
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.web.form import Form
from tokenopen.web.form_value import Reading, read_choice, read_multiplier, read_number
from tokenopen.web.text import Catalogue

NAME_LENGTH_MAX: Final = 200
TIMEOUTS: Final = ("connect_timeout_ms", "first_byte_timeout_ms", "idle_timeout_ms")


def read_new_upstream(form: Form, text: Catalogue) -> tuple[UpstreamChanges | None, Form]:
    """Return what a new upstream was said to be, None where some of it cannot be."""
    reading = Reading()
    changes: dict[str, Any] = {
        "name": reading.take(_name, form, text),
        "provider": reading.take(read_choice, form, text, "provider", PROVIDERS),
        "credential": reading.take(_credential, form, text),
    }
    base_url = reading.take(_base_url, form, text, may_be_empty=True)
    if base_url:
        changes["base_url"] = base_url
    return _read(changes, reading, form)


def read_address(form: Form, text: Catalogue) -> tuple[UpstreamChanges | None, Form]:
    """Return the address that was typed, and the credential where one was."""
    reading = Reading()
    changes: dict[str, Any] = {"base_url": reading.take(_base_url, form, text, may_be_empty=False)}
    if form.secret("credential"):
        changes["credential"] = form.secret("credential").strip()
    return _read(changes, reading, form)


def read_settings(form: Form, text: Catalogue) -> tuple[UpstreamChanges | None, Form]:
    """Return the settings that were typed, None where some of them cannot be."""
    reading = Reading()
    changes: dict[str, Any] = {
        "name": reading.take(_name, form, text),
        "provider": reading.take(read_choice, form, text, "provider", PROVIDERS),
        "enabled": form.has("enabled"),
        "priority": reading.take(read_number, form, text, "priority", least=0, most=PRIORITY_MAX),
        "weight": reading.take(read_number, form, text, "weight", least=1, most=WEIGHT_MAX),
        "cost_multiplier_ppm": reading.take(read_multiplier, form, text, "cost_multiplier"),
    }
    for name in TIMEOUTS:
        changes[name] = reading.take(read_number, form, text, name, least=TIMEOUT_MS_MIN, most=TIMEOUT_MS_MAX)
    return _read(changes, reading, form)


def _read(changes: Any, reading: Reading, form: Form) -> tuple[UpstreamChanges | None, Form]:
    return (None, form.wrong(**reading.errors)) if reading.errors else (changes, form)


def _name(form: Form, text: Catalogue) -> str:
    name = form.text("name")
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise InvalidRequest(text("admin_group.no_name", most=NAME_LENGTH_MAX), param="name")
    return name


def _credential(form: Form, text: Catalogue) -> str:
    credential = form.secret("credential").strip()
    if not credential:
        raise InvalidRequest(text("admin_upstream.no_credential"), param="credential")
    return credential


def _base_url(form: Form, text: Catalogue, *, may_be_empty: bool) -> str:
    base_url = form.text("base_url")
    if len(base_url) > BASE_URL_LENGTH_MAX or not (base_url or may_be_empty):
        raise InvalidRequest(text("admin_upstream.no_base_url"), param="base_url")
    return base_url


def fill_settings(record: UpstreamRecord) -> Form:
    """Return the settings as they are before anything was typed."""
    endpoint = record.endpoint
    values = {
        "name": endpoint.name,
        "provider": endpoint.provider,
        "priority": str(record.priority),
        "weight": str(record.weight),
        "version": record.version,
        **{name: str(getattr(endpoint, name)) for name in TIMEOUTS},
    }
    if endpoint.cost_multiplier_ppm is not None:
        values["cost_multiplier"] = format_multiplier(endpoint.cost_multiplier_ppm)
    if endpoint.enabled:
        values["enabled"] = "yes"
    return Form(values={name: [value] for name, value in values.items()})
