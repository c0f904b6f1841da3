"""Audit report: the numbered invariants, what was found to break them, and how much was looked at."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

INVARIANTS: Final[Mapping[str, str]] = {
    "I1": "balance = sum of ledger entries",
    "I2": "held = sum of open holds, of accounts and of keys",
    "I3": "available never falls below zero",
    "I4": "a hold is resolved exactly once",
    "I5": "a settled call has exactly one charge entry, a voided one none; refunds never exceed the charge",
    "I6": "ledger entries are never changed",
    "I7": "no floats near money",
    "I8": "nothing defaults to free or allowed",
    "I9": "no call beyond the RPM or TPD of its own terms",
    "I10": "charge + absorbed = the recomputation from what the call stores",
    "I11": "a key's spent + held <= its credit limit",
}
DRIFT_SHOWN_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One row that breaks an invariant."""

    invariant: str
    subject_id: str
    account_id: str | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What an audit found on the snapshot of ``as_of_ms``.

    ``drift`` holds the first rows per invariant, ``drift_counts`` how many there are in all; ``checked``
    counts what was looked at, by kind.
    """

    as_of_ms: int
    checked: Mapping[str, int]
    drift: Sequence[Drift]
    drift_counts: Mapping[str, int]

    @property
    def drift_count(self) -> int:
        """How many rows break an invariant."""
        return sum(self.drift_counts.values())


@dataclass(slots=True)
class Findings:
    """What an audit has found so far."""

    checked: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[Drift]] = field(default_factory=lambda: defaultdict(list))

    def add(self, invariant: str, subject_id: str, message: str, *, account_id: str | None = None) -> None:
        """Note a row that breaks an invariant."""
        assert invariant in INVARIANTS
        self.counts[invariant] += 1
        if self.counts[invariant] <= DRIFT_SHOWN_MAX:
            self.shown[invariant].append(
                Drift(invariant=invariant, subject_id=subject_id, account_id=account_id, message=message)
            )

    def are_integers(
        self, row: Mapping[str, object], columns: Sequence[str], *, account_id: str | None = None
    ) -> bool:
        """Tell whether the columns hold integers or nothing; note those that do not (I7)."""
        wrong = [column for column in columns if row[column] is not None and type(row[column]) is not int]
        for column in wrong:
            self.add(
                "I7",
                str(row["id"]),
                f"{column} is {row[column]!r}, not an integer",
                account_id=account_id,
            )
        return not wrong

    def report(self, as_of_ms: int) -> AuditReport:
        """Return what has been found."""
        return AuditReport(
            as_of_ms=as_of_ms,
            checked=dict(self.checked),
            drift=[drift for invariant in INVARIANTS for drift in self.shown[invariant]],
            drift_counts={invariant: self.counts[invariant] for invariant in INVARIANTS},
        )
