"""A made-up log of calls, as large as one likes: accounts, keys, calls, ledger entries, rollups, refusals.

Few accounts make most of the calls, few models get most of them, one model and one key are hardly ever used,
some calls are not charged, flagged or not covered. Sums agree with each other: balances with entries, rollups
and keys with calls.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from tokenopen.core.identifier import charge_entry_id, new_id
from tokenopen.core.usage import TOKEN_CLASSES

DAYS: Final = 90
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
MODELS: Final = tuple(f"model-{number:02}" for number in range(20))
RARE_MODEL: Final = "model-rare"
CODES: Final = ("rpm_exceeded", "model_not_allowed", "insufficient_credit", "tpd_exceeded")
_TOP_UP: Final = 10**15
_PRICES: Final = json.dumps(
    {
        "per_million": {name: 600_000_000 if "output" in name else 150_000_000 for name in TOKEN_CLASSES},
        "per_call": 0,
    }
)
_ATTEMPTS: Final = json.dumps(
    [{"upstream_id": "ups_01k000000000000000000000", "result": "200", "duration_ms": 812}]
)

Rows = list[tuple[Any, ...]]


@dataclass(slots=True)
class LogAccount:
    """An account, its keys, and what they add up to so far."""

    id: str
    user_id: str
    key_ids: Sequence[str]
    group_id: str
    balance: int = 0
    entry_count: int = 0
    newest_ms: int = 0
    spent: dict[str, int] = field(default_factory=Counter)


COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "calls": (
        "account_id", "id", "user_id", "key_id", "group_id", "group_revision_id", "model",
        "price_revision_id", "surface", "stream", "state", "worker_id", "hold", "charge", "absorbed",
        "refunded", "multiplier_ppm", "multiplier_rule", "requests_per_minute", "requests_per_day",
        "day_ordinal", "admitted_at_ms", "resolved_at_ms", "end_reason", "usage", "usage_source", "prices",
        "input_units", "output_units", "upstream_id", "attempts", "status", "flag", "first_byte_ms",
        "duration_ms",
    ),
    "ledger_entries": (
        "account_id", "number", "id", "kind", "amount", "balance_after", "call_id", "reason", "actor_id",
        "created_at_ms",
    ),
    "usage_hours": (
        "account_id", "hour", "key_id", "group_id", "model", "calls", "input_units", "output_units",
        "charge", "absorbed",
    ),
    "refused_calls": (
        "account_id", "id", "key_id", "group_id", "model", "surface", "status", "code", "message",
        "refused_at_ms",
    ),
    "refused_hours": ("account_id", "hour", "key_id", "group_id", "code", "calls"),
}  # fmt: skip


class CallLog:
    """Makes ``calls`` calls over the last days before ``until_ms``, in the order of their time.

    The account at place n makes 1 / n ** ``skew`` of what the first one makes.
    """

    def __init__(
        self,
        accounts: Sequence[LogAccount],
        *,
        calls: int,
        until_ms: int,
        days: int = DAYS,
        skew: int = 1,
        seed: int = 1,
    ) -> None:
        self.accounts = accounts
        self._calls = calls
        self._days = days
        self._from_ms = until_ms - days * DAY_MS
        self._random = random.Random(seed)  # noqa: S311 no secret
        self._account_weights = list(accumulate(1 / (rank + 1) ** skew for rank in range(len(accounts))))
        self._used: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
        self._refused: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0])
        self._model_weights = list(accumulate(1 / (rank + 1) for rank in range(len(MODELS))))

    def batches(self, size: int = 20_000) -> Iterator[Mapping[str, Rows]]:
        """Return rows by table, some thousand calls at a time; an hour's rollups come when it is over."""
        step = self._days * DAY_MS / self._calls
        hour = self._from_ms // HOUR_MS
        for start in range(0, self._calls, size):
            count = min(size, self._calls - start)
            rows: dict[str, Rows] = {table: [] for table in COLUMNS}
            chosen = self._random.choices(self.accounts, cum_weights=self._account_weights, k=count)
            models = self._random.choices(MODELS, cum_weights=self._model_weights, k=count)
            for index, (account, model) in enumerate(zip(chosen, models, strict=True)):
                number = start + index
                at_ms = self._from_ms + int(number * step)
                if at_ms // HOUR_MS != hour:
                    hour = at_ms // HOUR_MS
                    self._flush(rows, hour)
                # Once in the first tenth, of one account: the rarest that one can look for.
                if number == self._calls // 20:
                    account, model = self.accounts[0], RARE_MODEL
                self._add_call(rows, account, model, number, at_ms)
                if number % 50 == 0:
                    self._add_refusal(rows, account, model, number, at_ms)
            yield rows
        rows = {table: [] for table in COLUMNS}
        self._flush(rows, hour + 2)
        yield rows

    def _flush(self, rows: Mapping[str, Rows], hour: int) -> None:
        """Write the rollups of every hour before this one."""
        for table, sums in (("usage_hours", self._used), ("refused_hours", self._refused)):
            for names in [names for names in sums if names[1] < hour]:
                rows[table].append((*names, *sums.pop(names)))

    def _add_entry(
        self, rows: Mapping[str, Rows], account: LogAccount, entry_id: str, kind: str, amount: int,
        call_id: str | None, at_ms: int,
    ) -> None:  # fmt: skip
        account.balance += amount
        account.entry_count += 1
        reason = None if kind == "charge" else "Made up"
        rows["ledger_entries"].append(
            (account.id, account.entry_count, entry_id, kind, amount, account.balance, call_id, reason, None,
             at_ms)
        )  # fmt: skip

    def _add_call(
        self, rows: Mapping[str, Rows], account: LogAccount, model: str, number: int, at_ms: int
    ) -> None:  # fmt: skip
        draw = self._random.random
        if account.entry_count == 0:
            self._add_entry(rows, account, new_id("led", at_ms), "top_up", _TOP_UP, None, at_ms)
        call_id = new_id("call", at_ms)
        key_id = account.key_ids[int(draw() ** 2 * len(account.key_ids))]
        state = "settled"
        if draw() < 0.04:
            state = "voided" if draw() < 0.9 else "expired"
        settled = state == "settled"
        input_units, output_units = int(draw() * 3000) + 1, int(draw() * 800)
        due = (input_units * 150_000_000 + output_units * 600_000_000) // 10**6
        absorbed = due if settled and number % 1_000 == 0 else 0
        charge = due - absorbed if settled else 0
        flag = "usage_odd" if number % 20_000 == 0 else None
        surface = "chat" if draw() < 0.8 else "messages"
        end_reason = "completed" if settled else ("upstream_failed" if state == "voided" else "worker_gone")
        rows["calls"].append(
            (account.id, call_id, account.user_id, key_id, account.group_id, "grv_made_up", model,
             "prv_made_up", surface, number % 3 == 0, state, "wrk_made_up", due, charge, absorbed, 0,
             1_000_000, "group", 60, 1000, at_ms // DAY_MS, at_ms, at_ms + 900, end_reason,
             f'{{"input":{input_units},"output":{output_units}}}' if settled else None,
             "reported" if settled else None, _PRICES if settled else None,
             input_units if settled else 0, output_units if settled else 0, "ups_made_up", _ATTEMPTS,
             200 if settled else 502, flag, 300, 900)
        )  # fmt: skip
        account.newest_ms = at_ms + 900
        if not settled:
            return
        account.spent[key_id] += charge
        self._add_entry(rows, account, charge_entry_id(call_id), "charge", -charge, call_id, at_ms + 900)
        sums = self._used[account.id, (at_ms + 900) // HOUR_MS, key_id, account.group_id, model]
        for index, value in enumerate((1, input_units, output_units, charge, absorbed)):
            sums[index] += value

    def _add_refusal(
        self, rows: Mapping[str, Rows], account: LogAccount, model: str, number: int, at_ms: int
    ) -> None:
        code, key_id = CODES[number // 50 % len(CODES)], account.key_ids[0]
        rows["refused_calls"].append(
            (account.id, new_id("ref", at_ms), key_id, account.group_id, model, "chat", 429, code, "Made up.",
             at_ms)
        )  # fmt: skip
        self._refused[account.id, at_ms // HOUR_MS, key_id, account.group_id, code][0] += 1
