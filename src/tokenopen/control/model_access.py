"""Model access: which groups let a model in, by which of their available models, at which multiplier."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenopen.control.actor import Actor
from tokenopen.core.group import most_specific
from tokenopen.core.group_history import GroupRecord
from tokenopen.core.terms import multiplier_for
from tokenopen.ports.storage import Transaction
from tokenopen.storage.group import list_groups


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAccess:
    """A group that lets a model in, by the entry ``pattern`` of its available models."""

    group: GroupRecord
    pattern: str
    multiplier_ppm: int


async def list_active_groups(tx: Transaction, actor: Actor) -> Sequence[GroupRecord]:
    """Return the groups that may let a model in, for administrators."""
    actor.require_administrator()
    return await list_groups(tx, state="active")


def groups_letting_in(groups: Sequence[GroupRecord], model: str) -> Sequence[GroupAccess]:
    """Return the groups whose keys may call a model of this name, on offer or not."""
    found = []
    for group in groups:
        pattern = most_specific(group.policy.allowed_models, model)
        if pattern is not None:
            multiplier_ppm, _ = multiplier_for(group.policy, None, model)
            found.append(GroupAccess(group=group, pattern=pattern, multiplier_ppm=multiplier_ppm))
    return found
