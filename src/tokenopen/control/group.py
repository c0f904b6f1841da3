"""Groups: created, changed, renamed and archived by administrators; every change is a new revision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.control.seed_groups import SeedGroup
from tokenopen.core.errors import Conflict, InvalidRequest, NotFound
from tokenopen.core.group import SLUG, GroupState, InvalidGroup
from tokenopen.core.group_history import (
    DESCRIPTION_FIELDS,
    GroupChanges,
    GroupContent,
    GroupDescription,
    GroupRecord,
    RevisionRecord,
    apply_changes,
    carry_forward,
    content_fields,
    describe_content,
)
from tokenopen.core.identifier import new_id
from tokenopen.ports.storage import Transaction
from tokenopen.storage import group as storage
from tokenopen.storage.platform import load_platform
from tokenopen.storage.version import bump_catalog_version, lock_catalog


def _refuse_slug(slug: str) -> None:
    if not SLUG.fullmatch(slug):
        raise InvalidRequest(
            "slug: up to 64 of a-z, 0-9 and -, beginning and ending with a letter or digit.", param="slug"
        )


async def _refuse_taken(tx: Transaction, slug: str) -> None:
    taken = await storage.find_group(tx, slug)
    if taken is not None:
        held = "an archived group" if taken.description.state == "archived" else "a group"
        raise Conflict(f"There is {held} {slug} already. Choose another slug.", param="slug")


async def find_group(tx: Transaction, slug: str) -> GroupRecord:
    """Return a group by its slug, archived ones too. Refuses NotFound."""
    record = await storage.find_group(tx, slug) if SLUG.fullmatch(slug) else None
    if record is None:
        raise NotFound(f"There is no group {slug}.", param="group")
    return record


async def read_group(tx: Transaction, actor: Actor, slug: str) -> GroupRecord:
    """Return a group with its revisions, for administrators."""
    actor.require_administrator()
    return await find_group(tx, slug)


async def list_groups(
    tx: Transaction, actor: Actor, *, page: PageRequest, state: GroupState | None = None
) -> Page[GroupRecord]:
    """Return groups by slug, archived ones too unless a state is asked for."""
    actor.require_administrator()
    records = await storage.list_groups(tx, state=state, after_slug=page.after, limit=page.fetch)
    return cut_page(records, page, cursor_of=lambda record: record.description.slug)


async def list_revisions(
    tx: Transaction, actor: Actor, slug: str, *, page: PageRequest
) -> Page[RevisionRecord]:
    """Return a group's revisions, newest first."""
    actor.require_administrator()
    record = await find_group(tx, slug)
    if page.after is not None and not page.after.isdecimal():
        raise InvalidRequest("cursor: send the next_cursor of an earlier answer.", param="cursor")
    revisions = await storage.list_revisions(
        tx,
        record.id,
        before_number=None if page.after is None else int(page.after),
        limit=page.fetch,
    )
    return cut_page(revisions, page, cursor_of=lambda revision: str(revision.number))


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionChange:
    """A revision with what it was written to follow; ``before`` is None of the first."""

    revision: RevisionRecord
    before: GroupContent | None


async def list_changes(
    tx: Transaction, actor: Actor, slug: str, *, page: PageRequest
) -> Page[RevisionChange]:
    """Return a group's revisions, newest first, each beside what it changed."""
    revisions = await list_revisions(tx, actor, slug, page=page)
    group_id = (await find_group(tx, slug)).id
    changes = []
    for revision in revisions.items:
        before = await storage.find_revision_before(
            tx, group_id, number=revision.number, effective_from_ms=revision.effective_from_ms
        )
        changes.append(RevisionChange(revision=revision, before=None if before is None else before.content))
    return Page(items=changes, next_cursor=revisions.next_cursor)


async def create_group(
    tx: Transaction, actor: Actor, new: SeedGroup, *, reason: str | None = None
) -> GroupRecord:
    """Create a group, whose first revision is in force at once. Refuses Conflict where the slug is taken."""
    actor.require_administrator()
    _refuse_slug(new.slug)
    await lock_catalog(tx)
    await _refuse_taken(tx, new.slug)
    content = GroupContent(
        description=GroupDescription(
            slug=new.slug,
            name=new.name,
            suitable_for=new.suitable_for,
            visibility=new.visibility,
            custom_terms=new.custom_terms,
            state="active",
        ),
        policy=new.policy,
    )
    group_id = new_id("grp", tx.now_ms)
    await storage.insert_group(tx, group_id, content.description)
    await storage.insert_revision(
        tx, group_id, content, effective_from_ms=tx.now_ms, actor_id=actor.user_id, reason=reason
    )
    await bump_catalog_version(tx)
    await record_change(
        tx,
        actor,
        action="group.create",
        subject_kind="group",
        subject_id=group_id,
        before=None,
        after=describe_content(content),
    )
    return await storage.get_group(tx, group_id)


async def update_group(
    tx: Transaction,
    actor: Actor,
    slug: str,
    changes: GroupChanges,
    *,
    reason: str | None = None,
    effective_from_ms: int | None = None,
    based_on: str | None = None,
) -> GroupRecord:
    """Change a group by a new revision, at once or from a coming instant on. Nothing changed: no revision.

    Slug, name, visibility and what else describes the group change at once; only policy is scheduled.
    ``based_on`` is the version of the group that the changes were made to. Refuses InvalidRequest, NotFound,
    and Conflict where the slug is taken, the default group would close, or the group is at another version.
    """
    actor.require_administrator()
    await lock_catalog(tx)
    record = await find_group(tx, slug)
    if based_on is not None and based_on != record.version:
        raise Conflict(
            f"Group {record.description.name} has changed since. Read it anew and try again.", param="version"
        )
    begins_ms = _begins_ms(tx, changes, effective_from_ms)
    await _refuse_description(tx, record, changes)
    return await _revise(
        tx, actor, record, changes, begins_ms=begins_ms, reason=reason, action="group.update"
    )


def _begins_ms(tx: Transaction, changes: Mapping[str, Any], effective_from_ms: int | None) -> int:
    if effective_from_ms is None:
        return tx.now_ms
    if effective_from_ms <= tx.now_ms:
        raise InvalidRequest(
            "effective_from: must lie in the future; leave it out for a change at once.",
            param="effective_from",
        )
    for name in changes:
        if name in DESCRIPTION_FIELDS:
            raise InvalidRequest(
                f"effective_from: {name} always changes at once; schedule multipliers, models and limits "
                "by themselves.",
                param="effective_from",
            )
    return effective_from_ms


async def _refuse_description(tx: Transaction, record: GroupRecord, changes: GroupChanges) -> None:
    slug = changes.get("slug", record.description.slug)
    if slug != record.description.slug:
        _refuse_slug(slug)
        await _refuse_taken(tx, slug)
    if changes.get("visibility") == "entitled":
        await _refuse_default(tx, record, "made by request")


async def _refuse_default(tx: Transaction, record: GroupRecord, what: str) -> None:
    platform = await load_platform(tx)
    if platform.default_group == record.id:
        raise Conflict(
            f"Group {record.description.name} is the default for new API keys and cannot be {what}. "
            "Set another default_group first (PATCH /api/admin/settings)."
        )


async def _revise(
    tx: Transaction,
    actor: Actor,
    record: GroupRecord,
    changes: Mapping[str, Any],
    *,
    begins_ms: int,
    reason: str | None,
    action: str,
) -> GroupRecord:
    """Write the revision that a change makes, and anew those that are scheduled after it."""
    earlier = [coming for coming in record.coming if coming.effective_from_ms <= begins_ms]
    before = earlier[-1].content if earlier else record.content
    try:
        after = apply_changes(before, changes)
    except InvalidGroup as error:
        raise InvalidRequest(f"{error}.") from error
    if content_fields(after) == content_fields(before):
        return record

    scheduled = record.coming[len(earlier) :]
    carried = carry_forward(changes, before, [coming.content for coming in scheduled])
    revisions = [(begins_ms, after)] + [
        (coming.effective_from_ms, content)
        for coming, content in zip(scheduled, carried, strict=True)
        if content != coming.content
    ]
    for effective_from_ms, content in revisions:
        await storage.insert_revision(
            tx,
            record.id,
            content,
            effective_from_ms=effective_from_ms,
            actor_id=actor.user_id,
            reason=reason,
        )
    await storage.update_description(tx, record.id, after.description)
    await bump_catalog_version(tx)
    await record_change(
        tx,
        actor,
        action=action,
        subject_kind="group",
        subject_id=record.id,
        before=describe_content(before),
        after=describe_content(after),
    )
    return await storage.get_group(tx, record.id)


async def archive_group(
    tx: Transaction, actor: Actor, slug: str, *, reason: str | None = None
) -> GroupRecord:
    """Stop offering a group: its keys are refused from the very next call on. It is never deleted.

    Refuses NotFound, and Conflict for the default group. An archived group stays as it is.
    """
    actor.require_administrator()
    await lock_catalog(tx)
    record = await find_group(tx, slug)
    await _refuse_default(tx, record, "archived")
    return await _revise(
        tx,
        actor,
        record,
        {"state": "archived"},
        begins_ms=tx.now_ms,
        reason=reason,
        action="group.archive",
    )
