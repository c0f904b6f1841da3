"""Price list: the groups and what is offered in them, as anybody may read it before having an account."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenopen.core.catalog import Model
from tokenopen.core.group import LIMIT_MAX
from tokenopen.core.group_history import GroupRecord
from tokenopen.core.platform import Platform
from tokenopen.ports.storage import Transaction
from tokenopen.storage.group import list_groups
from tokenopen.storage.offered_model import list_offered_models
from tokenopen.storage.platform import load_platform


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Active groups, in the order people move up in; ``offered`` is what calls may be made to."""

    platform: Platform
    groups: Sequence[GroupRecord]
    offered: Sequence[Model]
    now_ms: int

    @property
    def default_group(self) -> GroupRecord:
        """The group of keys that are created without one."""
        return next(group for group in self.groups if group.id == self.platform.default_group)

    @property
    def revised_at_ms(self) -> int:
        """When the newest of the revisions in force began."""
        return max(group.in_force.effective_from_ms for group in self.groups)

    def models_of(self, group: GroupRecord) -> Sequence[Model]:
        """Return the offered models that a group allows."""
        return [model for model in self.offered if group.policy.allows(model.name)]


def step_of(group: GroupRecord, default_group_id: str) -> tuple[bool, bool, int, str]:
    """Return where a group stands: the default first, then those open to everyone, by requests a minute."""
    limit = group.policy.limits.requests_per_minute
    return (
        group.id != default_group_id,
        group.description.visibility != "public",
        LIMIT_MAX + 1 if limit is None else limit,
        group.description.slug,
    )


async def read_price_list(tx: Transaction) -> PriceList:
    """Return the groups and what is offered in them, as of now."""
    platform = await load_platform(tx)
    groups = await list_groups(tx, state="active")
    return PriceList(
        platform=platform,
        groups=sorted(groups, key=lambda group: step_of(group, platform.default_group)),
        offered=await list_offered_models(tx),
        now_ms=tx.now_ms,
    )
