"""Group archive: what archiving a group would break, to be read before it is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tokenopen.control.actor import Actor
from tokenopen.control.group import find_group
from tokenopen.control.group_use import UNUSED, GroupUse, list_group_use
from tokenopen.core.group_history import GroupRecord
from tokenopen.ports.storage import Transaction
from tokenopen.storage.api_key import list_group_api_keys
from tokenopen.storage.group import list_groups
from tokenopen.storage.offered_model import list_offered_models
from tokenopen.storage.platform import load_platform
from tokenopen.storage.upgrade_request import count_pending

KEYS_SHOWN: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupKey:
    """A key that would be refused, with whose it is."""

    id: str
    name: str
    last_four: str
    user_id: str
    user_email: str
    last_used_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveEffect:
    """What stops when a group is archived. ``keys`` are the last used ones of ``group.key_count``.

    ``only_here`` are the offered models that no other active group allows.
    """

    group: GroupRecord
    is_default: bool
    use: GroupUse
    keys: Sequence[GroupKey]
    pending_requests: int
    only_here: Sequence[str]


async def read_archive_effect(tx: Transaction, actor: Actor, slug: str) -> ArchiveEffect:
    """Return what archiving a group would break. Refuses NotFound."""
    actor.require_administrator()
    record = await find_group(tx, slug)
    others = [group for group in await list_groups(tx, state="active") if group.id != record.id]
    rows = await list_group_api_keys(tx, record.id, limit=KEYS_SHOWN)
    return ArchiveEffect(
        group=record,
        is_default=(await load_platform(tx)).default_group == record.id,
        use=(await list_group_use(tx, actor)).get(record.id, UNUSED),
        keys=[GroupKey(**{name: row[name] for name in GroupKey.__dataclass_fields__}) for row in rows],
        pending_requests=await count_pending(tx, record.id),
        only_here=[
            model.name
            for model in await list_offered_models(tx)
            if record.policy.allows(model.name)
            and not any(other.policy.allows(model.name) for other in others)
        ],
    )
