"""Audit: the invariants re-derived, for administrators."""

from fastapi import APIRouter
from pydantic import BaseModel

from tokenopen.api.authentication import Administrator
from tokenopen.api.json_types import InstantOut
from tokenopen.api.services import CurrentServices
from tokenopen.control.audit import audit
from tokenopen.control.audit_report import INVARIANTS, AuditReport

router = APIRouter(tags=["audit"])


class DriftOut(BaseModel):
    """One row that breaks an invariant; amounts are nano-credits, as stored."""

    invariant: str
    subject_id: str
    account_id: str | None
    message: str


class InvariantOut(BaseModel):
    """An invariant, and how many rows break it."""

    id: str
    says: str
    drift: int


class AuditOut(BaseModel):
    """What was looked at, on one snapshot, and the first rows per invariant that break it."""

    as_of: InstantOut
    checked: dict[str, int]
    drift_count: int
    invariants: list[InvariantOut]
    drift: list[DriftOut]


def show_audit(report: AuditReport) -> AuditOut:
    """Return an audit's report as it is shown."""
    return AuditOut(
        as_of=report.as_of_ms,
        checked=dict(report.checked),
        drift_count=report.drift_count,
        invariants=[
            InvariantOut(id=invariant, says=says, drift=report.drift_counts[invariant])
            for invariant, says in INVARIANTS.items()
        ],
        drift=[
            DriftOut(
                invariant=drift.invariant,
                subject_id=drift.subject_id,
                account_id=drift.account_id,
                message=drift.message,
            )
            for drift in report.drift
        ],
    )


@router.get("/api/admin/audit")
async def run_audit(services: CurrentServices, actor: Administrator) -> AuditOut:
    """Re-derive every invariant from what is stored; takes a while where there are many calls."""
    actor.require_administrator()
    async with services.storage.read() as tx:
        report = await audit(tx)
    return show_audit(report)
