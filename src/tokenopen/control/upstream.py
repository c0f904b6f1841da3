"""Upstreams: the endpoints that calls are forwarded to, with their sealed credentials and model maps.

A credential is bound to the origin that it was given for, and is never shown again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.model import check_model_name
from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.core.catalog import Endpoint
from tokenopen.core.errors import Conflict, InvalidRequest, NotFound
from tokenopen.core.identifier import new_id
from tokenopen.ports.storage import Transaction
from tokenopen.storage import upstream as statements
from tokenopen.storage.directory import endpoint_from_row
from tokenopen.storage.model import ListedState, list_model_states
from tokenopen.storage.version import bump_catalog_version, lock_catalog
from tokenopen.upstream.addresses import Network, Origin, address_allowed, parse_origin
from tokenopen.upstream.credential import seal_credential
from tokenopen.upstream.providers import PROVIDERS

Row = Mapping[str, Any]

MODELS_MAX: Final = 5_000
TIMEOUT_MS_MIN: Final = 100
TIMEOUT_MS_MAX: Final = 3_600_000
PRIORITY_MAX: Final = 1_000
WEIGHT_MAX: Final = 1_000
BASE_URL_LENGTH_MAX: Final = 2_000
_CREDENTIAL: Final = re.compile(r"[!-~]{1,4096}", re.ASCII)
_UPSTREAM_MODEL: Final = re.compile(r"[!-~]{1,200}", re.ASCII)
# Of a shorter credential four characters would give away too much.
_LAST_FOUR_FROM: Final = 12
_SHOWN: Final = (
    "name",
    "provider",
    "base_url",
    "credential_last_four",
    "enabled",
    "priority",
    "weight",
    "connect_timeout_ms",
    "first_byte_timeout_ms",
    "idle_timeout_ms",
    "cost_multiplier_ppm",
)
DEFAULTS: Final[Mapping[str, object]] = {
    "enabled": True,
    "priority": 0,
    "weight": 1,
    "connect_timeout_ms": 5_000,
    # A reply that is not streamed begins when the model has finished.
    "first_byte_timeout_ms": 600_000,
    "idle_timeout_ms": 300_000,
    "cost_multiplier_ppm": None,
}


class UpstreamChanges(TypedDict, total=False):
    """What a POST or PATCH says of an upstream; what is absent stays as it is."""

    name: str
    provider: str
    base_url: str
    credential: str
    models: Mapping[str, str]
    enabled: bool
    priority: int
    weight: int
    connect_timeout_ms: int
    first_byte_timeout_ms: int
    idle_timeout_ms: int
    cost_multiplier_ppm: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """What credentials are sealed with, and where upstreams may lie besides public addresses."""

    key: bytes
    allowed_networks: Sequence[Network]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRecord:
    """An upstream as administrators see it. ``models`` maps public names to the names there."""

    endpoint: Endpoint
    credential_last_four: str
    priority: int
    weight: int
    models: Mapping[str, str]
    warnings: Sequence[str]
    created_at_ms: int
    updated_at_ms: int

    @property
    def version(self) -> str:
        """What a change of the upstream makes another."""
        return str(self.updated_at_ms)


def _record(row: Row, models: Mapping[str, str], states: Mapping[str, ListedState]) -> UpstreamRecord:
    return UpstreamRecord(
        endpoint=endpoint_from_row(row),
        credential_last_four=row["credential_last_four"],
        priority=row["priority"],
        weight=row["weight"],
        models=models,
        warnings=[*warn_of_origin(row["base_url"]), *_warn_of_models(models, states)],
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
    )


def warn_of_origin(base_url: str) -> Sequence[str]:
    """Say what is wrong with where an upstream is, if anything is."""
    origin = parse_origin(base_url)
    if origin.scheme == "https" or origin.address is not None:
        return ()
    return (f"{origin} is not encrypted: the credential and every call can be read on the way.",)


def _warn_of_models(models: Mapping[str, str], states: Mapping[str, ListedState]) -> Sequence[str]:
    """Say which models of the map calls cannot be made to, and why."""
    advice = {
        None: "is not known here: give it a price (PUT /api/admin/models/{}), or import the makers' prices",
        "incomplete": "is incomplete: GET /api/admin/models/{} says what to fill in",
        "archived": "is archived",
    }
    return [
        f"Model {name} {advice[states.get(name)].format(name)}."
        for name in models
        if states.get(name) != "active"
    ]


async def list_upstreams(tx: Transaction, actor: Actor, *, page: PageRequest) -> Page[UpstreamRecord]:
    """Return upstreams, the oldest first."""
    actor.require_administrator()
    rows = await statements.list_upstreams(tx, after=page.after, limit=page.fetch)
    maps = await statements.list_routes(tx, [row["id"] for row in rows])
    states = await list_model_states(tx)
    records = [_record(row, maps.get(row["id"], {}), states) for row in rows]
    return cut_page(records, page, cursor_of=lambda record: record.endpoint.id)


async def find_upstream(tx: Transaction, actor: Actor, upstream_id: str) -> UpstreamRecord:
    """Return an upstream. Refuses NotFound."""
    actor.require_administrator()
    row = await _find(tx, upstream_id)
    maps = await statements.list_routes(tx, [upstream_id])
    return _record(row, maps.get(upstream_id, {}), await list_model_states(tx))


async def _find(tx: Transaction, upstream_id: str) -> Row:
    row = await statements.find_upstream(tx, upstream_id)
    if row is None:
        raise NotFound(f"There is no upstream {upstream_id}.")
    return row


async def create_upstream(
    tx: Transaction, actor: Actor, changes: UpstreamChanges, *, sealing: Sealing
) -> UpstreamRecord:
    """Create an upstream. Without a base URL it is the provider's own.

    Refuses InvalidRequest, and Conflict where the name is taken.
    """
    actor.require_administrator()
    actor.require_recent_password(tx.now_ms)
    await lock_catalog(tx)
    for field in ("name", "provider", "credential"):
        if field not in changes:
            raise InvalidRequest(f"{field} is required.", param=field)
    provider = _check_provider(changes["provider"])
    base_url = changes.get("base_url") or PROVIDERS[provider].base_url
    if base_url is None:
        raise InvalidRequest(f"base_url is required: {provider} has none of its own.", param="base_url")
    upstream_id = new_id("ups", tx.now_ms)
    values = {**DEFAULTS, **await _values(tx, {**changes, "base_url": base_url}, None, sealing)}
    models = _check_models(changes.get("models", {}))
    await statements.insert_upstream(tx, upstream_id, **values)
    await statements.replace_routes(tx, upstream_id, models)
    await _record_change(tx, actor, "upstream.create", upstream_id, None, _describe(values, models))
    return await find_upstream(tx, actor, upstream_id)


async def change_models(
    tx: Transaction,
    actor: Actor,
    upstream_id: str,
    *,
    add: Mapping[str, str],
    remove: Sequence[str] = (),
    sealing: Sealing,
) -> UpstreamRecord:
    """Have an upstream carry some models more, others no more; what else it carries stays.

    Refuses NotFound and InvalidRequest.
    """
    actor.require_administrator()
    await lock_catalog(tx)
    await _find(tx, upstream_id)
    mapped = (await statements.list_routes(tx, [upstream_id])).get(upstream_id, {})
    models = {name: there for name, there in mapped.items() if name not in remove} | dict(add)
    return await update_upstream(tx, actor, upstream_id, {"models": models}, sealing=sealing)


async def update_upstream(
    tx: Transaction,
    actor: Actor,
    upstream_id: str,
    changes: UpstreamChanges,
    *,
    sealing: Sealing,
    based_on: str | None = None,
) -> UpstreamRecord:
    """Change an upstream; a map of models replaces the one there is.

    ``based_on`` is the version of the upstream that the changes were made to. Refuses NotFound,
    InvalidRequest (also for a base URL of another origin without the credential for it), and Conflict where
    the name is taken or the upstream is at another version.
    """
    actor.require_administrator()
    if "credential" in changes:
        actor.require_recent_password(tx.now_ms)
    await lock_catalog(tx)
    row = await _find(tx, upstream_id)
    if based_on is not None and based_on != str(row["updated_at_ms"]):
        raise Conflict(
            f"Upstream {row['name']} has changed since. Read it anew and try again.", param="version"
        )
    models_before = (await statements.list_routes(tx, [upstream_id])).get(upstream_id, {})
    values = await _values(tx, changes, row, sealing)
    models = _check_models(changes["models"]) if "models" in changes else models_before
    changed = {column: value for column, value in values.items() if row[column] != value}
    if changed or models != models_before:
        await statements.update_upstream(tx, upstream_id, **changed)
        if models != models_before:
            await statements.replace_routes(tx, upstream_id, models)
        after = _describe({**row, **values}, models)
        if "credential" in changes:
            after["credential_replaced"] = True
        await _record_change(tx, actor, "upstream.update", upstream_id, _describe(row, models_before), after)
    return await find_upstream(tx, actor, upstream_id)


async def _values(
    tx: Transaction, changes: UpstreamChanges, row: Row | None, sealing: Sealing
) -> dict[str, Any]:
    """Return the columns that a change sets, checked, the credential sealed."""
    values: dict[str, Any] = {
        column: value for column, value in changes.items() if column not in ("credential", "models")
    }
    if "name" in changes:
        taken = await statements.find_upstream_named(tx, changes["name"])
        if taken is not None and (row is None or taken["id"] != row["id"]):
            raise Conflict(f"There is an upstream {changes['name']} already.", param="name")
    if "provider" in changes:
        _check_provider(changes["provider"])
    if "base_url" in changes:
        values["base_url"] = changes["base_url"].rstrip("/")
        origin = _check_base_url(values["base_url"], sealing.allowed_networks)
    else:
        # Checked when it was written. What is allowed may have changed since, and each connection asks.
        assert row is not None
        origin = parse_origin(row["base_url"])
    if "credential" in changes:
        values |= _seal(changes["credential"], origin, sealing)
    elif row is not None and str(origin) != str(parse_origin(row["base_url"])):
        raise InvalidRequest(
            f"The credential is bound to {parse_origin(row['base_url'])}. Send the credential for {origin} "
            "along with the new base_url.",
            param="credential",
        )
    return values


def _check_provider(provider: str) -> str:
    if provider not in PROVIDERS:
        raise InvalidRequest(
            f"{provider!r} is not a provider that is known here: {', '.join(PROVIDERS)}. An API in OpenAI's "
            "shape that is not among them is openai-compatible.",
            param="provider",
        )
    return provider


def _check_base_url(base_url: str, allowed_networks: Sequence[Network]) -> Origin:
    """Refuse what no upstream can have. A name is checked when it is connected to: it may change."""
    try:
        origin = parse_origin(base_url)
    except ValueError as error:
        raise InvalidRequest(f"base_url: {error}", param="base_url") from error
    if "?" in base_url:
        raise InvalidRequest(
            "base_url: paths are added to it, so it must not hold a query.", param="base_url"
        )
    if origin.address is not None and not address_allowed(origin.address, allowed_networks):
        raise InvalidRequest(
            f"base_url: {origin.address} is not a public address. An operator allows other networks with "
            "TOKENOPEN_UPSTREAM_NETWORKS.",
            param="base_url",
        )
    return origin


def _seal(credential: str, origin: Origin, sealing: Sealing) -> dict[str, object]:
    if not _CREDENTIAL.fullmatch(credential):
        raise InvalidRequest(
            "credential: visible ASCII characters only, without spaces; check that it was copied whole.",
            param="credential",
        )
    return {
        "credential_sealed": seal_credential(sealing.key, str(origin), credential),
        "credential_last_four": credential[-4:] if len(credential) >= _LAST_FOUR_FROM else "",
    }


def _check_models(models: Mapping[str, str]) -> Mapping[str, str]:
    if len(models) > MODELS_MAX:
        raise InvalidRequest(f"models: at most {MODELS_MAX:,}.", param="models")
    for name, upstream_model in models.items():
        check_model_name(name, param="models")
        if not _UPSTREAM_MODEL.fullmatch(upstream_model):
            raise InvalidRequest(
                f"models: the name of {name} there has 1 to 200 visible ASCII characters.", param="models"
            )
    return models


def _describe(values: Row, models: Mapping[str, str]) -> dict[str, object]:
    return {column: values[column] for column in _SHOWN} | {"models": models}


async def _record_change(
    tx: Transaction,
    actor: Actor,
    action: str,
    upstream_id: str,
    before: Mapping[str, object] | None,
    after: Mapping[str, object],
) -> None:
    await bump_catalog_version(tx)
    await record_change(
        tx,
        actor,
        action=action,
        subject_kind="upstream",
        subject_id=upstream_id,
        before=before,
        after=after,
    )
