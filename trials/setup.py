"""What a trial sets up through the control API, and what is known of it apart from the platform."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from tests.e2e.running import Platform

from trials.check import GroupPlan, KeyPlan, Plan

PRICES: Final = {"small": ("0.15", "0.6"), "large": ("2.5", "10")}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySetup:
    """A key: its group, its owner, and how many of a round of callers have it."""

    group: str
    owner: str
    share: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSetup:
    """A group that allows every model to everybody; None is unlimited."""

    multiplier: str
    requests_per_minute: int | None = None
    requests_per_day: int | None = None


class Trial:
    """A platform with groups, users with credit, and their keys; ``plan`` is what the checker goes by."""

    def __init__(
        self,
        platform: Platform,
        *,
        groups: Mapping[str, GroupSetup],
        keys: Mapping[str, KeySetup],
        credit: Mapping[str, str],
    ) -> None:
        for model, (input_price, output_price) in PRICES.items():
            platform.add_model(model, prices={"input": input_price, "output": output_price})
        platform.add_upstream(list(PRICES))
        self.keys = keys
        self.credit = credit
        self.users = {
            name: platform.add_user(f"{name}@example.com", credit=amount) for name, amount in credit.items()
        }
        self.accounts: dict[str, str] = {
            name: platform.ask("GET", f"/api/admin/users/{user_id}")["account_id"]
            for name, user_id in self.users.items()
        }
        self.secrets: dict[str, str] = {}
        plans: dict[str, KeyPlan] = {}
        group_plans = {slug: _add_group(platform, slug, group) for slug, group in groups.items()}
        for name, key in keys.items():
            wanted = {"name": name, "group": key.group}
            created = platform.ask("POST", f"/api/admin/users/{self.users[key.owner]}/keys", wanted)
            plans[name] = KeyPlan(id=created["id"], group=key.group, account_id=self.accounts[key.owner])
            self.secrets[name] = created["key"]
        prices = {model: (Fraction(pair[0]), Fraction(pair[1])) for model, pair in PRICES.items()}
        self.plan = Plan(groups=group_plans, keys=plans, prices=prices)


def _add_group(platform: Platform, slug: str, group: GroupSetup) -> GroupPlan:
    limits = {
        "requests_per_minute": group.requests_per_minute,
        "requests_per_day": group.requests_per_day,
    }
    created = platform.add_group(slug, multiplier=group.multiplier, **limits)
    return GroupPlan(id=created["id"], multiplier=Fraction(group.multiplier), **limits)
