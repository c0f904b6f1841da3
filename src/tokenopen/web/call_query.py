"""Call query: which calls the filters of a page ask for, and what there is to choose from in each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

from tokenopen.control.actor import Actor
from tokenopen.control.api_key import list_my_api_keys
from tokenopen.control.group_terms import list_my_groups
from tokenopen.control.page import PAGE_LIMIT_MAX, PageRequest
from tokenopen.core.errors import InvalidRequest
from tokenopen.ports.storage import Transaction
from tokenopen.storage.call_search import CallFilter
from tokenopen.storage.refused_call import RefusedFilter
from tokenopen.upstream.surfaces.offered import SURFACES
from tokenopen.web.text import Catalogue
from tokenopen.web.time_range import TimeRange, read_time_range

Choices = Sequence[tuple[str, str]]

CALL_RANGES: Final = ("all", "1h", "24h", "7d", "30d", "90d")
# Each outcome with what it asks for, in the order in which they are offered.
OUTCOMES: Final[Mapping[str, Mapping[str, Any]]] = {
    "running": {"state": "held"},
    "completed": {"state": "settled", "end_reason": "completed"},
    "client_left": {"state": "settled", "end_reason": "client_left"},
    "upstream_broke_off": {"state": "settled", "end_reason": "upstream_broke_off"},
    "not_covered": {"absorbed": True},
    "not_charged": {"state": "voided"},
    "upstream_rejected": {"state": "voided", "end_reason": "upstream_rejected"},
    "upstream_failed": {"state": "voided", "end_reason": "upstream_failed"},
    "client_left_early": {"state": "voided", "end_reason": "client_left_early"},
    "worker_gone": {"state": "expired"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallQuery:
    """What was chosen in the filters of a list of calls; what was not is None. ``group`` is a slug."""

    time: TimeRange
    key_id: str | None
    group: str | None
    model: str | None
    surface: str | None
    outcome: str | None
    code: str | None
    page: PageRequest

    def call_filter(self) -> CallFilter:
        """Return which calls are asked for."""
        outcome: Mapping[str, Any] = {} if self.outcome is None else OUTCOMES[self.outcome]
        return replace(
            CallFilter(
                key_id=self.key_id,
                model=self.model,
                surface=self.surface,
                from_ms=self.time.from_ms,
                until_ms=self.time.until_ms,
            ),
            **outcome,
        )

    def refused_filter(self, account_id: str | None) -> RefusedFilter:
        """Return which refused calls of an account, or of everybody, are asked for."""
        return RefusedFilter(
            account_id=account_id,
            code=self.code,
            key_id=self.key_id,
            model=self.model,
            surface=self.surface,
            from_ms=self.time.from_ms,
            until_ms=self.time.until_ms,
        )

    @property
    def is_narrowed(self) -> bool:
        """Tell whether anything was chosen at all."""
        chosen = (self.key_id, self.group, self.model, self.surface, self.outcome, self.code)
        return any(value is not None for value in chosen) or self.time != TimeRange(name="all")


def read_call_query(query: Mapping[str, str], *, now_ms: int, zone: ZoneInfo) -> CallQuery:
    """Return what a page's address asks for. Refuses InvalidRequest."""

    def chosen(name: str) -> str | None:
        return query.get(name, "").strip() or None

    outcome = chosen("outcome")
    if outcome is not None and outcome not in OUTCOMES:
        raise InvalidRequest(f"There is no outcome {outcome}.", param="outcome")
    return CallQuery(
        time=read_time_range(query, now_ms=now_ms, zone=zone),
        key_id=chosen("key"),
        group=chosen("group"),
        model=chosen("model"),
        surface=chosen("api"),
        outcome=outcome,
        code=chosen("code"),
        page=PageRequest(after=chosen("cursor")),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallChoices:
    """What the filters offer, as pairs of value and text; the first of each is everything."""

    ranges: Choices
    keys: Choices
    groups: Choices
    models: Sequence[str]
    surfaces: Choices
    outcomes: Choices
    codes: Choices


def surface_names() -> Sequence[str]:
    """Return the names of the APIs that calls are made through, each once."""
    return list(dict.fromkeys(surface.name for surface in SURFACES))


def fixed_choices(text: Catalogue, codes: Sequence[str]) -> CallChoices:
    """Return what the filters offer whoever asks; keys, groups and models are to come."""
    every = ("", text("call.any"))
    return CallChoices(
        ranges=[("" if name == "all" else name, text(f"range.{name}")) for name in CALL_RANGES],
        keys=[every],
        groups=[every],
        models=[],
        surfaces=[every, *((name, text(f"surface.{name}")) for name in surface_names())],
        outcomes=[every, *((name, text(f"call.outcome.{name}")) for name in OUTCOMES)],
        codes=[every, *((code, text(f"refusal.{code}.title")) for code in codes)],
    )


async def list_my_choices(
    tx: Transaction, actor: Actor, text: Catalogue, codes: Sequence[str]
) -> CallChoices:
    """Return what the filters offer a user for their own calls."""
    fixed = fixed_choices(text, codes)
    keys = (await list_my_api_keys(tx, actor, page=PageRequest(limit=PAGE_LIMIT_MAX))).items
    choice = await list_my_groups(tx, actor)
    # Open to the user now, or of a key: calls were made in no others, but for keys that were moved since.
    groups = {
        terms.group.description.slug: terms.group.description.name
        for terms in [*(terms for terms in choice.groups if terms.is_open), *(view.terms for view in keys)]
    }
    return replace(
        fixed,
        keys=[*fixed.keys, *((view.key.id, f"{view.key.name} …{view.key.last_four}") for view in keys)],
        groups=[*fixed.groups, *sorted(groups.items(), key=lambda pair: pair[1])],
        models=[model.name for model in choice.offered],
    )
