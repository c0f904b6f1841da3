"""First run: what is missing before anybody can call: an upstream, a group that allows its models, a key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tokenopen.control.actor import Actor
from tokenopen.control.api_key import ApiKeyView, Narrowing, create_api_key, list_my_api_keys
from tokenopen.control.call import CallRecord, list_all_calls, list_calls
from tokenopen.control.group_terms import GroupTerms, list_my_groups
from tokenopen.control.ledger import top_up
from tokenopen.control.page import PageRequest
from tokenopen.control.refused_call import RefusedRecord, list_refused
from tokenopen.control.upstream import list_upstreams
from tokenopen.control.user import find_user
from tokenopen.core.catalog import Model
from tokenopen.core.money import Nanocredits
from tokenopen.ports.storage import Transaction
from tokenopen.storage.call_search import CallFilter
from tokenopen.storage.refused_call import RefusedFilter

Step = Literal["upstream", "group", "key", "call"]

_ONE = PageRequest(limit=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRun:
    """How far an installation is that nobody has called yet, for the administrator who sets it up.

    ``groups`` are those open to them that allow a model on offer; ``key`` is the newest of their own.
    """

    has_upstream: bool
    offered: Sequence[Model]
    groups: Sequence[GroupTerms]
    default_group_id: str
    key: ApiKeyView | None
    available: Nanocredits
    refused: RefusedRecord | None

    @property
    def step(self) -> Step:
        """What comes next."""
        if not self.offered:
            return "upstream"
        if not self.groups:
            return "group"
        return "key" if self.key is None else "call"


async def find_first_run(tx: Transaction, actor: Actor) -> FirstRun | None:
    """Return how far the installation is, or None where somebody has called already."""
    calls = await list_all_calls(tx, actor, wanted=CallFilter(), group=None, user_id=None, page=_ONE)
    if calls.items:
        return None
    choice = await list_my_groups(tx, actor)
    keys = await list_my_api_keys(tx, actor, page=PageRequest())
    return FirstRun(
        has_upstream=bool((await list_upstreams(tx, actor, page=_ONE)).items),
        offered=choice.offered,
        groups=[
            terms
            for terms in choice.groups
            if terms.is_open and any(terms.allows(model.name) for model in choice.offered)
        ],
        default_group_id=choice.default_group_id,
        key=next((view for view in keys.items if view.key.state == "active"), None),
        available=(await find_user(tx, actor, actor.user_id)).available,
        refused=await find_newest_refused(tx, actor),
    )


async def find_newest_call(tx: Transaction, actor: Actor) -> CallRecord | None:
    """Return the actor's own newest call, or None."""
    found = await list_calls(tx, actor, wanted=CallFilter(), group=None, page=_ONE)
    return found.items[0] if found.items else None


async def find_newest_refused(tx: Transaction, actor: Actor) -> RefusedRecord | None:
    """Return the actor's own newest refused call, or None."""
    found = await list_refused(tx, wanted=RefusedFilter(account_id=actor.account_id), page=_ONE)
    return found.items[0] if found.items else None


async def create_first_key(
    tx: Transaction,
    actor: Actor,
    *,
    name: str,
    group: str,
    credit: Nanocredits,
    reason: str,
    hashing_key: bytes,
) -> tuple[str, ApiKeyView]:
    """Create a key of the actor's own and put credit on their account, for a first call.

    Refuses GroupNotAvailable, and PasswordRequired where credit is given.
    """
    if credit:
        await top_up(tx, actor, user_id=actor.user_id, amount=credit, reason=reason)
    return await create_api_key(
        tx,
        actor,
        user_id=actor.user_id,
        name=name,
        group=group,
        narrowing=Narrowing(),
        hashing_key=hashing_key,
    )
