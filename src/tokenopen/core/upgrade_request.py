"""Upgrade request: a user asks for a group that is by request, and an administrator decides, once.

pending --approve--> approved    the account is entitled to the group
  |-----decline----> declined
  '-----cancel-----> cancelled   the user has taken it back
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

UpgradeRequestState = Literal["pending", "approved", "declined", "cancelled"]

TRANSITIONS: Final[Mapping[UpgradeRequestState, frozenset[UpgradeRequestState]]] = {
    "pending": frozenset(("approved", "declined", "cancelled")),
    "approved": frozenset(),
    "declined": frozenset(),
    "cancelled": frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeRequest:
    """What was asked, by whom, and what became of it. ``decided_by`` is a user's id."""

    id: str
    account_id: str
    user_id: str
    user_email: str
    group_id: str
    group_slug: str
    group_name: str
    reason: str
    state: UpgradeRequestState
    answer: str | None
    decided_by: str | None
    created_at_ms: int
    decided_at_ms: int | None
