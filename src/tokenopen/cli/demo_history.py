"""The demo's past: a month in a small company, lived through the product itself with a clock that is moved.

Everything goes through the API of a platform that runs in this process, as it would have come over the
network; nothing is inserted. So keys, calls, refusals, ledger and audit log are what the product makes of
them, and the audit must find them clean.
"""

import asyncio
import datetime
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import httpx

from tokenopen.bootstrap import open_platform
from tokenopen.cli.demo_people import BATCH_SIZE, PEOPLE, PROMPT_TEXT, Habit, Person
from tokenopen.cli.demo_story import DemoFailed
from tokenopen.ports.clock import SystemClock
from tokenopen.settings import Settings

DAYS: Final = 30
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
# The past ends a little before now, so that the demo's own calls are the newest.
_ENDS_BEFORE_MS: Final = 10 * 60_000
_SEED: Final = 7
_WORDS: Final = PROMPT_TEXT.split()


class HistoryClock:
    """The Clock port, somewhere in the past. It runs on by itself and jumps forward when told."""

    def __init__(self, now_ms: int) -> None:
        self._system = SystemClock()
        self._ahead_ms = now_ms - self._system.monotonic_ms()

    def now_ms(self) -> int:
        """Return the pretended time."""
        return self._system.monotonic_ms() + self._ahead_ms

    def monotonic_ms(self) -> int:
        """Return the pretended time too: what lapses by the one lapses by the other."""
        return self.now_ms()

    def jump_to(self, now_ms: int) -> None:
        """Go forward to an instant; one that is over is left alone."""
        self._ahead_ms += max(0, now_ms - self.now_ms())


@dataclass
class History:
    """What the past has left behind: how its people sign in."""

    clock: HistoryClock
    client: httpx.AsyncClient
    admin_key: str
    random: Random
    user_ids: dict[str, str] = field(default_factory=dict)
    user_keys: dict[str, str] = field(default_factory=dict)
    api_keys: dict[tuple[str, str], str] = field(default_factory=dict)
    key_ids: dict[tuple[str, str], str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: object = None, *, user: str | None = None) -> Any:
        """Ask the control API, as the administrator or as a user. Raises DemoFailed."""
        headers = {"Authorization": f"Bearer {self.admin_key if user is None else self.user_keys[user]}"}
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_hex(8)
        reply = await self.client.request(method, path, json=body, headers=headers)
        if not reply.is_success:
            raise DemoFailed(f"{method} {path} answered {reply.status_code}: {reply.text}")
        return reply.json() if reply.content else None

    async def call(self, person: Person, habit: Habit) -> httpx.Response:
        """Make one call as a habit has it."""
        words = " ".join(self.random.choices(_WORDS, k=self.random.randint(*habit.input_words)))
        body: dict[str, object] = {"model": self.random.choice(habit.models)}
        if habit.api == "embeddings":
            path, body["input"] = "/v1/embeddings", words
        else:
            path = "/v1/chat/completions"
            body["messages"] = [{"role": "user", "content": words}]
            body["max_tokens"] = self.random.randint(*habit.output_tokens)
            if self.random.random() < habit.streamed:
                body |= {"stream": True, "stream_options": {"include_usage": True}}
        key = self.api_keys[person.email, habit.key]
        return await self.client.post(path, json=body, headers={"Authorization": f"Bearer {key}"})


async def live_through(
    settings: Settings, provider_url: str, *, password: str, on_day: Callable[[int], None]
) -> int:
    """Live through the past month on an empty data directory; return how many calls were made.

    Everybody's password is ``password``; ``on_day`` is told how many days are over. Raises DemoFailed,
    StartupError.
    """
    assert settings.admin_key is not None
    admin_key = settings.admin_key.get_secret_value()
    # Nights pass in a moment here; no lease may lapse in them.
    settings = settings.model_copy(update={"lease_seconds": 2 * DAYS * 24 * 3600})
    now_ms = SystemClock().now_ms()
    start_ms = (now_ms // _DAY_MS - DAYS) * _DAY_MS
    clock = HistoryClock(start_ms)
    async with open_platform(settings, clock=clock) as platform:
        transport = httpx.ASGITransport(platform.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:
            history = History(
                clock=clock,
                client=client,
                admin_key=admin_key,
                # What is drawn is how busy a day was, nothing that must not be guessed.
                random=Random(_SEED),  # noqa: S311
            )
            await _found(history, provider_url, password)
            return await _live(history, start_ms, now_ms - _ENDS_BEFORE_MS, on_day)


async def _found(history: History, provider_url: str, password: str) -> None:
    """The first day: a provider, people, credit, keys."""
    models = sorted({model for person in PEOPLE for habit in person.habits for model in habit.models})
    upstream = {
        "name": "Simulated provider",
        "provider": "openai",
        "base_url": provider_url,
        "credential": "sim-demo",
        "models": {model: model for model in models},
    }
    await history.ask("POST", "/api/admin/upstreams", upstream)
    # A small beginning, which a later revision of the group makes better.
    await history.ask("PATCH", "/api/admin/groups/vip", {"requests_per_minute": 500, "reason": "Beginning"})
    for person in PEOPLE:
        await _welcome(history, person, password)


async def _welcome(history: History, person: Person, password: str) -> None:
    user = {"email": person.email, "name": person.name, "role": person.role, "password": password}
    created = await history.ask("POST", "/api/admin/users", user)
    history.user_ids[person.email] = created["id"]
    path = f"/api/admin/users/{created['id']}"
    own = await history.ask("POST", f"{path}/management-keys", {"name": "Console"})
    history.user_keys[person.email] = own["key"]
    if person.credit:
        await history.ask(
            "POST", f"{path}/credits", {"amount": person.credit, "reason": person.credit_reason}
        )
    for slug, terms in person.entitlements.items():
        own_terms = dict(terms)
        ends_after_days = own_terms.pop("ends_after_days", None)
        if isinstance(ends_after_days, int):
            own_terms["expires_at"] = _instant(history.clock.now_ms() + ends_after_days * _DAY_MS)
        await history.ask("PUT", f"{path}/entitlements/{slug}", own_terms)
    for name, group in person.keys.items():
        key = await history.ask("POST", "/api/me/keys", {"name": name, "group": group}, user=person.email)
        history.api_keys[person.email, name] = key["key"]
        history.key_ids[person.email, name] = key["id"]


async def _live(history: History, start_ms: int, end_ms: int, on_day: Callable[[int], None]) -> int:
    """Let the days pass."""
    calls = 0
    for day in range(DAYS + 1):
        on_day(day)
        day_ms = start_ms + day * _DAY_MS
        for hour in range(24):
            hour_ms = day_ms + hour * _HOUR_MS
            if hour_ms >= end_ms:
                return calls
            history.clock.jump_to(hour_ms)
            if hour == 10:
                await _happen(history, day)
            calls += await _work(history, _is_weekend(day_ms), hour)
    return calls


async def _work(history: History, weekend: bool, hour: int) -> int:
    due: list[tuple[Person, Habit]] = []
    for person in PEOPLE:
        for habit in person.habits:
            expected = habit.calls_at(hour, weekend=weekend)
            share = expected * history.random.uniform(0.4, 1.6)
            count = int(share) + (history.random.random() < share % 1)
            due += [(person, habit)] * count
    history.random.shuffle(due)
    for begin in range(0, len(due), BATCH_SIZE):
        await asyncio.gather(
            *(history.call(person, habit) for person, habit in due[begin : begin + BATCH_SIZE])
        )
        history.clock.jump_to(history.clock.now_ms() + history.random.randint(20_000, 200_000))
    return len(due)


async def _happen(history: History, day: int) -> None:
    """What is not everyday."""
    ada, linus, mae = PEOPLE[1], PEOPLE[2], PEOPLE[3]
    if day == 6:
        # A campaign: more calls in a minute than the group allows.
        await asyncio.gather(*(history.call(ada, ada.habits[0]) for _ in range(75)))
    elif day == 7:
        reason = "Our shop assistant met the 60 requests per minute of Default during a campaign."
        await _ask_for(history, ada, "vip", reason, answer="Welcome to VIP.", state="approved")
        key_id = history.key_ids[ada.email, ada.habits[0].key]
        await history.ask("PATCH", f"/api/me/keys/{key_id}", {"group": "vip"}, user=ada.email)
    elif day == 12:
        change = {"requests_per_minute": 600, "reason": "More room at the providers"}
        await history.ask("PATCH", "/api/admin/groups/vip", change)
    elif day == 15:
        answer = "Your calls fit well into Default; tell us when they no longer do."
        await _ask_for(
            history, linus, "enterprise", "I would like a discount.", answer=answer, state="declined"
        )
    elif day == 18:
        await _refund_one(history, ada)
    elif day == 20:
        path = f"/api/admin/users/{history.user_ids[ada.email]}/credits"
        await history.ask("POST", path, {"amount": "20", "reason": "Invoice 2041"})
    elif day == DAYS - 1:
        await _ask_for(history, mae, "vip", "We go live on Monday and expect ten times the calls.")


async def _ask_for(
    history: History, person: Person, group: str, reason: str, *, answer: str = "", state: str | None = None
) -> None:
    wish = {"group": group, "reason": reason}
    request = await history.ask("POST", "/api/me/upgrade-requests", wish, user=person.email)
    if state is None:
        return
    history.clock.jump_to(history.clock.now_ms() + 2 * _HOUR_MS)
    decision = {"state": state, "answer": answer}
    await history.ask("PATCH", f"/api/admin/upgrade-requests/{request['id']}", decision)


async def _refund_one(history: History, person: Person) -> None:
    page: Sequence[Any] = (await history.ask("GET", "/api/me/calls", user=person.email))["data"]
    charged = next(call for call in page if call["state"] == "settled" and call["charge"] != "0")
    body = {"reason": "The provider answered in the wrong language"}
    await history.ask("POST", f"/api/admin/calls/{charged['id']}/refunds", body)


def _is_weekend(day_ms: int) -> bool:
    return datetime.datetime.fromtimestamp(day_ms / 1000, datetime.UTC).weekday() >= 5


def _instant(at_ms: int) -> str:
    return datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
