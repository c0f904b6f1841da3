"""Two things beside each other: rows as a storage keeps them, and what they ought to say.

``Rows`` reads books, lets core decide and writes back only what was touched, as a storage does.
``Model`` knows nothing of the core's arithmetic: it keeps plain lists and counts them anew each time.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from tests.core.samples import FOREVER_MS
from tokenopen.core.admission import (
    Admission,
    Admitted,
    AlreadyResolved,
    Books,
    Lapsed,
    OpenCall,
    Resolution,
    Resolved,
    Stale,
    Touched,
    decide_admission,
    decide_resolution,
)
from tokenopen.core.errors import Refusal
from tokenopen.core.kept_reply import AlreadyMade
from tokenopen.core.ledger import AccountBook, KeyBook
from tokenopen.core.money import Nanocredits
from tokenopen.core.rate_limit import RateWindow
from tokenopen.core.token_window import TokenWindow

ZONE: Final = ZoneInfo("Europe/Berlin")

AdmissionAnswer = Admitted | AlreadyMade | Stale | Lapsed | Refusal
ResolutionAnswer = Resolved | AlreadyResolved


def local_date(at_ms: int) -> date:
    """Return the day of an instant where the platform's days begin and end."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(ZONE).date()


@dataclass(kw_only=True)
class Rows:
    """The tables of a storage."""

    accounts: dict[str, AccountBook]
    keys: dict[str, KeyBook]
    windows: dict[tuple[str, str], tuple[int, bytes, int, int]] = field(default_factory=dict)
    calls: dict[str, OpenCall] = field(default_factory=dict)
    groups: Sequence[str] = ()
    call_groups: dict[str, tuple[str, str]] = field(default_factory=dict)
    tokens: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    # Account, amount and balance after, in the order written; with the call of a charge or refund.
    entries: list[tuple[str, int, int, str | None]] = field(default_factory=list)
    catalog_version: int = 1

    def read(self, now_ms: int) -> Books:
        """Return the books of a new transaction: copies, so that what is not written back is lost."""
        return Books(
            now_ms=now_ms,
            catalog_version=self.catalog_version,
            admits_until_ms={"wrk_1": FOREVER_MS},
            accounts={name: replace(row) for name, row in self.accounts.items()},
            keys={name: replace(row) for name, row in self.keys.items()},
            windows={
                names: RateWindow(newest_second=row[0], slots=row[1], day_ordinal=row[2], day_count=row[3])
                for names, row in self.windows.items()
            },
            calls=dict(self.calls),
            token_windows={
                (account_id, group_id): TokenWindow(self.tokens.get((account_id, group_id)))
                for account_id in self.accounts
                for group_id in self.groups
            },
            open_calls={
                (account_id, group_id): sum(
                    self.calls[call_id].state == "held"
                    for call_id, of in self.call_groups.items()
                    if of == (account_id, group_id)
                )
                for account_id in self.accounts
                for group_id in self.groups
            },
        )

    def post(
        self, now_ms: int, *, resolutions: Sequence[Resolution] = (), admissions: Sequence[Admission] = ()
    ) -> tuple[list[ResolutionAnswer], list[AdmissionAnswer]]:
        """Decide a batch in one transaction and write what it touched."""
        books, touched = self.read(now_ms), Touched()
        resolved = [decide_resolution(item, books, touched) for item in resolutions]
        admitted = [decide_admission(item, books, touched) for item in admissions]
        for name in touched.accounts:
            self.accounts[name] = books.accounts[name]
        for name in touched.keys:
            self.keys[name] = books.keys[name]
        for names in touched.windows:
            window = books.windows[names]
            self.windows[names] = (
                window.newest_second,
                window.slots,
                window.day_ordinal,
                window.day_count,
            )
        for names in touched.token_windows:
            self.tokens[names] = dict(books.token_windows[names].counts)
        for resolution, answer in zip(resolutions, resolved, strict=True):
            self._write_resolved(resolution, answer)
        for admission, decided in zip(admissions, admitted, strict=True):
            if isinstance(decided, Admitted):
                facts = admission.facts
                self.call_groups[facts.call_id] = (facts.account_id, facts.group_id)
                self.calls[admission.facts.call_id] = OpenCall(
                    state="held", hold=decided.hold, charge=Nanocredits(0), refunded=Nanocredits(0)
                )
        return resolved, admitted

    def _write_resolved(self, resolution: Resolution, answer: ResolutionAnswer) -> None:
        if isinstance(answer, AlreadyResolved):
            return
        call_id, account_id = resolution.facts.call_id, resolution.facts.account_id
        call = self.calls[call_id]
        if answer.refund:
            self.calls[call_id] = call.changed(refunded=Nanocredits(call.refunded + answer.refund))
            self.entries.append((account_id, answer.refund, answer.balance_after, call_id))
        else:
            self.calls[call_id] = call.changed(state=answer.state, charge=answer.charge)
            if answer.state == "settled":
                self.entries.append((account_id, -answer.charge, answer.balance_after, call_id))


@dataclass(kw_only=True)
class ModelCall:
    """A call as the model knows it."""

    account_id: str
    key_id: str
    group_id: str
    tokens_per_minute: int | None
    hold: int
    state: str = "held"
    due: int = 0
    charge: int = 0
    absorbed: int = 0
    refunded: int = 0


@dataclass(kw_only=True)
class Admittance:
    """One admission of an account within a group, with the limits of its own terms."""

    at_ms: int
    per_minute: int | None
    per_day: int | None
    tokens: int | None
    # How many tokens the 60 s before had been settled with, and how many calls ran with it.
    tokens_before: int
    at_once: int
    concurrent: int | None


@dataclass(kw_only=True)
class Model:
    """What ought to be."""

    key_limits: dict[str, int | None]
    newest_ms: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    amounts: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    calls: dict[str, ModelCall] = field(default_factory=dict)
    # Account, group, instant and tokens of each settlement that counts.
    settled_tokens: list[tuple[str, str, int, int]] = field(default_factory=list)
    admittances: dict[tuple[str, str], list[Admittance]] = field(default_factory=lambda: defaultdict(list))

    def balance(self, account_id: str) -> int:
        """Return the sum of the account's entries (I1)."""
        return sum(self.amounts[account_id])

    def held(self, *, account_id: str | None = None, key_id: str | None = None) -> int:
        """Return the sum of the open holds of an account or of a key (I2)."""
        return sum(
            call.hold
            for call in self.calls.values()
            if call.state == "held" and (call.account_id == account_id or call.key_id == key_id)
        )

    def spent(self, key_id: str) -> int:
        """Return the sum of a key's charges."""
        return sum(call.charge for call in self.calls.values() if call.key_id == key_id)

    def available(self, account_id: str) -> int:
        """Return the credit of an account that is neither spent nor held."""
        return self.balance(account_id) - self.held(account_id=account_id)

    def key_available(self, key_id: str) -> int | None:
        """Return what a key may still spend, None where it has no limit."""
        limit = self.key_limits[key_id]
        return None if limit is None else limit - self.spent(key_id) - self.held(key_id=key_id)

    def room(self, account_id: str, key_id: str) -> int:
        """Return what a call may hold."""
        of_account, of_key = self.available(account_id), self.key_available(key_id)
        return of_account if of_key is None else min(of_account, of_key)

    def now_ms(self, account_id: str, clock_ms: int) -> int:
        """Return the time as an account sees it: never earlier than it has seen."""
        return max(clock_ms, self.newest_ms[account_id])

    def used_minute(self, account_id: str, group_id: str, now_ms: int) -> int:
        """Count the admissions in the 61 one-second slots up to now's."""
        return sum(one.at_ms // 1000 > now_ms // 1000 - 61 for one in self.admittances[account_id, group_id])

    def used_day(self, account_id: str, group_id: str, now_ms: int) -> int:
        """Count the admissions of the platform's day."""
        today = local_date(now_ms)
        return sum(local_date(one.at_ms) == today for one in self.admittances[account_id, group_id])

    def used_tokens(self, account_id: str, group_id: str, now_ms: int, *, seconds: int = 61) -> int:
        """Count the tokens settled in so many one-second slots up to now's."""
        return sum(
            tokens
            for account, group, at_ms, tokens in self.settled_tokens
            if (account, group) == (account_id, group_id) and at_ms // 1000 > now_ms // 1000 - seconds
        )

    def running(self, account_id: str, group_id: str) -> int:
        """Count the calls that run."""
        return sum(
            call.state == "held" and (call.account_id, call.group_id) == (account_id, group_id)
            for call in self.calls.values()
        )

    def limits_reached(
        self,
        account_id: str,
        group_id: str,
        now_ms: int,
        *,
        per_minute: int | None,
        per_day: int | None,
        tokens: int | None,
        concurrent: int | None,
    ) -> set[str]:
        """Return the codes of the limits that one more call would go over."""
        reached = set()
        if per_minute is not None and self.used_minute(account_id, group_id, now_ms) >= per_minute:
            reached.add("rpm_exceeded")
        if per_day is not None and self.used_day(account_id, group_id, now_ms) >= per_day:
            reached.add("tpd_exceeded")
        if tokens is not None and self.used_tokens(account_id, group_id, now_ms) >= tokens:
            reached.add("tpm_exceeded")
        if concurrent is not None and self.running(account_id, group_id) >= concurrent:
            reached.add("concurrency_exceeded")
        return reached
