"""The load of a trial: callers that go on whatever happens to the servers, and write down what they see."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from tests.e2e.running import ADMIN_KEY

from trials.caller import Line, Seen, Wish
from trials.setup import PRICES, Trial

TOP_UP: Final = "0.0005"
_TOP_UP_EVERY_S: Final = 0.25
_RETRY_S: Final = (0.05, 0.3)
_TOP_UP_TIMEOUT_S: Final = 20
# An answer that leaves open whether the top-up was done: sent again it is answered again, not done again.
_TRY_AGAIN: Final = (409, 503)
_PAUSED_AFTER: Final = (402, 429, 503)
_REFUSED_PAUSE_S: Final = (0.2, 0.8)
_SHARE_OF_PROVIDER_ERRORS: Final = 0.06
_SHARE_LEAVING: Final = 0.15
_SHARE_AT_ONCE: Final = 0.2
_SHARE_STREAMS: Final = 0.55


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
    """Callers of every key, and an administrator who tops one user up; they go on whatever happens.

    Each caller takes one of the servers at a time, and another when its connection is lost. ``whole`` is set
    by each reply that is seen whole. ``one_call_a_connection`` has every call dial anew.
    """

    def __init__(
        self,
        trial: Trial,
        urls: Sequence[str],
        *,
        seed: int,
        callers: int,
        topped_up: str,
        one_call_a_connection: bool = False,
    ) -> None:
        self.seen: list[Seen] = []
        self.unreached = 0
        self.top_ups = 0
        self.whole = asyncio.Event()
        self._trial = trial
        self._urls = urls
        self._topped_up = topped_up
        self._one_call_a_connection = one_call_a_connection
        self._ending = False
        names = [name for name, key in trial.keys.items() for _ in range(key.share)]
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

    def raise_what_failed(self) -> None:
        """Raise what went wrong with a caller, which a trial would otherwise wait for in vain."""
        for task in self._tasks:
            if task.done():
                task.result()

    @property
    def paid_in(self) -> dict[str, int]:
        """Return what each account was topped up with, in nano-credits."""
        paid = {name: Fraction(amount) for name, amount in self._trial.credit.items()}
        paid[self._topped_up] += Fraction(TOP_UP) * self.top_ups
        return {self._trial.accounts[name]: int(amount * 10**9) for name, amount in paid.items()}

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
        line: Line | None = None
        while not self._ending:
            if line is None:
                address = urlsplit(chance.choice(self._urls))
                assert address.hostname is not None
                assert address.port is not None
                line = Line(address.hostname, address.port)
            try:
                seen = await line.call(self._trial.secrets[key], choose_wish(chance, key))
            except OSError:
                self.unreached += 1
                line = None
                await asyncio.sleep(chance.uniform(*_RETRY_S))
                continue
            self.seen.append(seen)
            if self._one_call_a_connection or not seen.whole:
                line.drop()
                line = None
            if seen.whole and seen.status == 200:
                self.whole.set()
            elif seen.status in _PAUSED_AFTER:
                await asyncio.sleep(chance.uniform(*_REFUSED_PAUSE_S))
        if line is not None:
            line.drop()

    async def _go_on_topping_up(self, chance: random.Random) -> None:
        """Each top-up is sent until it is answered, under one Idempotency-Key: it may count once only."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with httpx.AsyncClient(headers=headers, timeout=_TOP_UP_TIMEOUT_S) as admin:
            while not self._ending:
                await asyncio.sleep(_TOP_UP_EVERY_S)
                await self._top_up(admin, chance)
                self.top_ups += 1

    async def _top_up(self, admin: httpx.AsyncClient, chance: random.Random) -> None:
        while True:
            try:
                reply = await admin.post(
                    f"{chance.choice(self._urls)}/api/admin/users/{self._trial.users[self._topped_up]}/credits",
                    json={"amount": TOP_UP, "reason": "trial"},
                    headers={"Idempotency-Key": f"top-up-{self.top_ups}"},
                )
            except httpx.TransportError:
                await asyncio.sleep(chance.uniform(*_RETRY_S))
                continue
            if reply.is_success:
                return
            assert reply.status_code in _TRY_AGAIN, f"top-up: {reply.status_code} {reply.text}"
            await asyncio.sleep(chance.uniform(*_RETRY_S))
