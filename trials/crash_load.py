"""The load of the crash trial: what it sets up, and callers that go on whatever happens to the server."""

import asyncio
import random
from collections import Counter
from fractions import Fraction
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from tests.e2e.running import ADMIN_KEY, Platform

from trials.caller import Seen, Wish, call
from trials.crash_check import GroupPlan, KeyPlan, Plan

PRICES: Final = {"small": ("0.15", "0.6"), "large": ("2.5", "10")}
MULTIPLIERS: Final = {"open": "0.8", "paced": "1.0", "daily": "0.333333"}
# Of each key: its group, its owner, and how many of every twenty callers have it.
KEYS: Final = {
    "open-1": ("open", "ada", 6),
    "open-2": ("open", "ada", 5),
    "paced": ("paced", "ada", 4),
    "daily": ("daily", "ada", 3),
    "poor": ("open", "bob", 2),
}
RICH_CREDIT: Final = "1000"
# So little that calls are refused for it again and again, while others hold the rest.
POOR_CREDIT: Final = "0.01"
TOP_UP: Final = "0.0005"
_TOP_UP_EVERY_S: Final = 0.25
_RETRY_S: Final = (0.05, 0.3)
_REFUSED_PAUSE_S: Final = (0.2, 0.8)
_SHARE_OF_PROVIDER_ERRORS: Final = 0.06
_SHARE_LEAVING: Final = 0.15
_SHARE_AT_ONCE: Final = 0.2
_SHARE_STREAMS: Final = 0.55


class Trial:
    """A platform with three groups and five keys of two users, and what is known of it apart from it."""

    def __init__(self, platform: Platform, *, requests_per_minute: int, requests_per_day: int) -> None:
        for model, (input_price, output_price) in PRICES.items():
            platform.add_model(model, prices={"input": input_price, "output": output_price})
        platform.add_upstream(list(PRICES))
        limits: dict[str, dict[str, int]] = {
            "open": {},
            "paced": {"requests_per_minute": requests_per_minute},
            "daily": {"requests_per_day": requests_per_day},
        }
        groups = {
            slug: GroupPlan(
                id=platform.add_group(slug, multiplier=multiplier, **limits[slug])["id"],
                multiplier=Fraction(multiplier),
                **limits[slug],
            )
            for slug, multiplier in MULTIPLIERS.items()
        }
        self.users = {
            "ada": platform.add_user("ada@example.com", credit=RICH_CREDIT),
            "bob": platform.add_user("bob@example.com", credit=POOR_CREDIT),
        }
        self.accounts: dict[str, str] = {
            name: platform.ask("GET", f"/api/admin/users/{user_id}")["account_id"]
            for name, user_id in self.users.items()
        }
        self.secrets: dict[str, str] = {}
        keys: dict[str, KeyPlan] = {}
        for name, (group, owner, _) in KEYS.items():
            wanted = {"name": name, "group": group}
            created = platform.ask("POST", f"/api/admin/users/{self.users[owner]}/keys", wanted)
            keys[name] = KeyPlan(id=created["id"], group=group, account_id=self.accounts[owner])
            self.secrets[name] = created["key"]
        prices = {model: (Fraction(pair[0]), Fraction(pair[1])) for model, pair in PRICES.items()}
        self.plan = Plan(groups=groups, keys=keys, prices=prices)


def choose_wish(chance: random.Random, key: str) -> Wish:
    """Return a call of mixed size and pace, so that a kill meets calls at every stage."""
    stream = chance.random() < _SHARE_STREAMS
    simulate: dict[str, Any] = {"delay_ms": chance.randrange(0, 500)}
    if chance.random() < _SHARE_OF_PROVIDER_ERRORS:
        simulate["status"] = chance.choice((400, 429, 500))
    elif chance.random() < _SHARE_AT_ONCE:
        simulate = {}
    elif stream:
        simulate |= {"events": chance.randint(1, 12), "chunk_delay_ms": chance.choice((0, 5, 30, 80))}
    elif chance.random() < 1 / 2:
        simulate |= {"split_bytes": 300, "chunk_delay_ms": 40}
    return Wish(
        key=key,
        model=chance.choice(tuple(PRICES)),
        words=chance.choice((1, chance.randint(2, 300), chance.randint(300, 5_000))),
        max_tokens=chance.choice((1, chance.randint(2, 60), chance.randint(60, 400))),
        stream=stream,
        include_usage=stream and chance.random() < 1 / 2,
        simulate=simulate,
        leave_after_s=chance.uniform(0, 1.2) if chance.random() < _SHARE_LEAVING else None,
    )


class Load:
    """Callers and an administrator who tops Bob up. ``whole`` is set by each reply that is seen whole."""

    def __init__(self, trial: Trial, url: str, *, seed: int, callers: int) -> None:
        self.seen: list[Seen] = []
        self.unreached = 0
        self.top_ups = 0
        self.whole = asyncio.Event()
        self._trial = trial
        self._url = url
        self._ending = False
        names = [name for name, (_, _, share) in KEYS.items() for _ in range(share)]
        chances = [random.Random(f"{seed} {index}") for index in range(callers)]  # noqa: S311 - no secret
        self._tasks = [
            asyncio.create_task(self._go_on_calling(names[index % len(names)], chance))
            for index, chance in enumerate(chances)
        ]
        self._tasks.append(asyncio.create_task(self._go_on_topping_up(chances[0])))

    async def end(self) -> None:
        """Let every caller see the end of its last call. Raises what went wrong with one."""
        self._ending = True
        await asyncio.gather(*self._tasks)

    @property
    def paid_in(self) -> dict[str, int]:
        """Return what each account was topped up with, in nano-credits."""
        bob = Fraction(POOR_CREDIT) + Fraction(TOP_UP) * self.top_ups
        return {
            self._trial.accounts["ada"]: int(Fraction(RICH_CREDIT) * 10**9),
            self._trial.accounts["bob"]: int(bob * 10**9),
        }

    def counts(self) -> Counter[str]:
        """Count what the callers saw, by how it ended."""
        counts: Counter[str] = Counter()
        for one in self.seen:
            kind = "SSE" if one.wish.stream else "JSON"
            if one.status == 200 or one.status is None:
                counts[f"{one.end}: {kind}" if one.end == "whole" else f"{one.end}: reply"] += 1
            else:
                counts[f"{one.status} {one.code or one.end}"] += 1
        return counts

    async def _go_on_calling(self, key: str, chance: random.Random) -> None:
        address = urlsplit(self._url)
        assert address.hostname is not None
        assert address.port is not None
        while not self._ending:
            try:
                seen = await call(
                    address.hostname, address.port, self._trial.secrets[key], choose_wish(chance, key)
                )
            except OSError:
                self.unreached += 1
                await asyncio.sleep(chance.uniform(*_RETRY_S))
                continue
            self.seen.append(seen)
            if seen.whole and seen.status == 200:
                self.whole.set()
            elif seen.status in (402, 429):
                await asyncio.sleep(chance.uniform(*_REFUSED_PAUSE_S))

    async def _go_on_topping_up(self, chance: random.Random) -> None:
        """Each top-up is sent until it is answered, under one Idempotency-Key: it may count once only."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with httpx.AsyncClient(base_url=self._url, headers=headers, timeout=20) as admin:
            while not self._ending:
                await asyncio.sleep(_TOP_UP_EVERY_S)
                await self._top_up(admin, chance)
                self.top_ups += 1

    async def _top_up(self, admin: httpx.AsyncClient, chance: random.Random) -> None:
        while True:
            try:
                reply = await admin.post(
                    f"/api/admin/users/{self._trial.users['bob']}/credits",
                    json={"amount": TOP_UP, "reason": "trial"},
                    headers={"Idempotency-Key": f"top-up-{self.top_ups}"},
                )
            except httpx.TransportError:
                await asyncio.sleep(chance.uniform(*_RETRY_S))
                continue
            if reply.is_success:
                return
            assert reply.status_code == 503, f"top-up: {reply.status_code} {reply.text}"
            await asyncio.sleep(chance.uniform(*_RETRY_S))
