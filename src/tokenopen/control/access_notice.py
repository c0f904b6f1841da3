"""Access notices: what an account is told of groups that it can no longer use, or only for a while."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tokenopen.control.group_terms import GroupTerms, terms_of
from tokenopen.ports.storage import Transaction
from tokenopen.storage.api_key import count_usable_api_keys
from tokenopen.storage.entitlement import list_entitlements
from tokenopen.storage.group import list_groups

ANNOUNCED_MS: Final = 14 * 24 * 3_600_000

AccessChange = Literal[
    "ends",  # access to a group that is by request
    "terms_end",  # own terms in a group that is open to everyone
    "ended",  # keys point at a group that is not open to their owner any more
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessNotice:
    """What changes, or has changed (``at_ms`` is then None). ``key_count`` keys are concerned."""

    change: AccessChange
    terms: GroupTerms
    at_ms: int | None
    key_count: int


async def list_access_notices(tx: Transaction, account_id: str) -> Sequence[AccessNotice]:
    """Return what has ended for keys that are not revoked, then what ends within 14 days, the next first."""
    entitlements = await list_entitlements(tx, [account_id])
    counts = await count_usable_api_keys(tx, account_id)
    ended, coming = [], []
    for group in await list_groups(tx):
        terms, key_count = terms_of(group, entitlements, tx.now_ms), counts.get(group.id, 0)
        if not terms.is_open:
            if key_count:
                ended.append(AccessNotice(change="ended", terms=terms, at_ms=None, key_count=key_count))
            continue
        until_ms = terms.ends_ms
        if until_ms is None or until_ms - tx.now_ms > ANNOUNCED_MS:
            continue
        change: AccessChange = "terms_end" if group.description.visibility == "public" else "ends"
        coming.append((until_ms, change, terms, key_count))
    coming.sort(key=lambda one: one[0])
    return [
        *ended,
        *(
            AccessNotice(change=change, terms=terms, at_ms=until_ms, key_count=key_count)
            for until_ms, change, terms, key_count in coming
        ),
    ]
