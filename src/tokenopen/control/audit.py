"""Audit: every invariant re-derived from the rows, on one snapshot, beside a running server.

It reads and never writes. Memory is bounded by the catalog's history, one account's keys and refunds, and
a page of rows, however many calls there are.
"""

from tokenopen.control.audit_account import audit_account
from tokenopen.control.audit_catalog import audit_catalog, pages
from tokenopen.control.audit_report import AuditReport, Findings
from tokenopen.ports.storage import Transaction
from tokenopen.storage import audit as statements
from tokenopen.storage.dropped_call import read_dropped_until


async def audit(tx: Transaction) -> AuditReport:
    """Check I1 to I11 on the snapshot of a read transaction, and return what breaks them."""
    findings = Findings()
    history = await audit_catalog(tx, findings)
    dropped_until_ms = await read_dropped_until(tx)
    calls_of, entries_of = await statements.list_owners_unknown(tx)
    for account_id in calls_of:
        findings.add("I8", account_id, "calls name an account that does not exist", account_id=account_id)
    for account_id in entries_of:
        findings.add("I1", account_id, "entries name an account that does not exist", account_id=account_id)
    async for account in pages(tx, statements.list_accounts):
        await audit_account(tx, account, history, findings, dropped_until_ms=dropped_until_ms)
    return findings.report(tx.now_ms)
