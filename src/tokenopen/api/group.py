"""Groups, as administrators make and change them."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tokenopen.api.authentication import Administrator
from tokenopen.api.json_types import (
    UNCHANGED,
    Body,
    InstantIn,
    InstantOut,
    Label,
    LimitIn,
    ModelPattern,
    MultiplierIn,
    MultiplierOut,
    PageOut,
    PageQuery,
    PatchBody,
    PersonOut,
    Prose,
    page_out,
)
from tokenopen.api.services import CurrentServices
from tokenopen.control import group as control
from tokenopen.control.seed_groups import SeedGroup
from tokenopen.core.group import (
    DEFAULT_MAX_OUTPUT_TOKENS,
    LIMIT_NAMES,
    READ_ON_SECONDS,
    READ_ON_SECONDS_MAX,
    GroupPolicy,
    GroupState,
    InterruptionRule,
    Limits,
    Visibility,
)
from tokenopen.core.group_history import GroupRecord, RevisionRecord, content_fields
from tokenopen.core.terms import display_multiplier

router = APIRouter(tags=["groups"])

PATTERNS_MAX: Final = 1_000

Slug = Annotated[str, Field(max_length=64)]
OutputTokens = Annotated[int, Field(ge=1, le=10**7)]
ReadOnSeconds = Annotated[int, Field(ge=1, le=READ_ON_SECONDS_MAX)]
Patterns = Annotated[list[ModelPattern], Field(max_length=PATTERNS_MAX)]
Multipliers = Annotated[dict[ModelPattern, MultiplierIn], Field(max_length=PATTERNS_MAX)]


class GroupIn(Body):
    """A new group. A limit that is left out or null is none."""

    slug: Slug
    name: Label
    suitable_for: Prose = ""
    visibility: Visibility = "entitled"
    custom_terms: bool = False
    allowed_models: Patterns
    multiplier: MultiplierIn
    model_multipliers: Multipliers = Field(default_factory=dict)
    requests_per_minute: LimitIn | None = None
    requests_per_day: LimitIn | None = None
    tokens_per_minute: LimitIn | None = None
    concurrent_calls: LimitIn | None = None
    default_max_output_tokens: OutputTokens = DEFAULT_MAX_OUTPUT_TOKENS
    interruption_rule: InterruptionRule = "read_on"
    read_on_seconds: ReadOnSeconds = READ_ON_SECONDS
    reason: Prose | None = None


class GroupPatch(PatchBody):
    """A change of a group, at once or from a coming instant on."""

    slug: Slug = UNCHANGED
    name: Label = UNCHANGED
    suitable_for: Prose = UNCHANGED
    visibility: Visibility = UNCHANGED
    custom_terms: bool = UNCHANGED
    allowed_models: Patterns = UNCHANGED
    multiplier_ppm: MultiplierIn = Field(default=UNCHANGED, alias="multiplier")
    model_multipliers: Multipliers = UNCHANGED
    requests_per_minute: LimitIn | None = UNCHANGED
    requests_per_day: LimitIn | None = UNCHANGED
    tokens_per_minute: LimitIn | None = UNCHANGED
    concurrent_calls: LimitIn | None = UNCHANGED
    default_max_output_tokens: OutputTokens = UNCHANGED
    interruption_rule: InterruptionRule = UNCHANGED
    read_on_seconds: ReadOnSeconds = UNCHANGED
    reason: Prose | None = None
    effective_from: InstantIn | None = None

    def changes(self) -> Any:
        """Return the fields of the group that were sent."""
        return {
            name: value
            for name, value in super().changes().items()
            if name not in ("reason", "effective_from")
        }


class ArchiveIn(Body):
    """Why a group is no longer offered."""

    reason: Prose | None = None


class GroupQuery(PageQuery):
    """Which groups are asked for."""

    state: GroupState | None = None


class RevisionRefOut(BaseModel):
    """A revision of a group: from when it binds, and who wrote it, why."""

    id: str
    number: int
    effective_from: InstantOut
    by: PersonOut
    reason: str | None


class PolicyOut(BaseModel):
    """What a group says. A limit that is null is none.

    ``interruption_rule`` says what a stream is charged whose caller leaves: ``read_on`` what the provider
    did, which is read on for at most ``read_on_seconds``; ``delivered_only`` what reached the caller.
    """

    slug: str
    name: str
    suitable_for: str
    visibility: Visibility
    custom_terms: bool
    state: GroupState
    allowed_models: list[str]
    multiplier: MultiplierOut
    model_multipliers: dict[str, MultiplierOut]
    requests_per_minute: int | None
    requests_per_day: int | None
    tokens_per_minute: int | None
    concurrent_calls: int | None
    default_max_output_tokens: int
    interruption_rule: InterruptionRule
    read_on_seconds: int


class RevisionOut(RevisionRefOut, PolicyOut):
    """One immutable state of a group, whole."""

    created_at: InstantOut


class GroupOut(PolicyOut):
    """A group as it binds now; ``upcoming`` revisions are scheduled. Counts leave out what has ended."""

    id: str
    display_multiplier: str
    revision: RevisionRefOut
    upcoming: list[RevisionOut]
    key_count: int
    entitlement_count: int
    created_at: InstantOut


def _reference_fields(record: RevisionRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "number": record.number,
        "effective_from": record.effective_from_ms,
        "by": PersonOut(id=record.actor_id, email=record.actor_email),
        "reason": record.reason,
    }


def _policy_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "multiplier": fields.pop("multiplier_ppm")}


def _show_revision(record: RevisionRecord) -> RevisionOut:
    return RevisionOut(
        **_reference_fields(record),
        **_policy_fields(content_fields(record.content)),
        created_at=record.created_at_ms,
    )


def show_group(record: GroupRecord) -> GroupOut:
    """Return a group as it is shown to administrators."""
    return GroupOut(
        id=record.id,
        **_policy_fields(content_fields(record.content)),
        display_multiplier=display_multiplier(record.policy, custom=record.description.custom_terms),
        revision=RevisionRefOut(**_reference_fields(record.in_force)),
        upcoming=[_show_revision(coming) for coming in record.coming],
        key_count=record.key_count,
        entitlement_count=record.entitlement_count,
        created_at=record.created_at_ms,
    )


@router.get("/api/admin/groups")
async def list_groups(
    services: CurrentServices, actor: Administrator, query: Annotated[GroupQuery, Query()]
) -> PageOut[GroupOut]:
    """Groups by slug, archived ones too unless a state is asked for."""
    async with services.storage.read() as tx:
        page = await control.list_groups(tx, actor, page=query.page(), state=query.state)
    return page_out(page, show_group)


@router.post("/api/admin/groups", status_code=201)
async def create_group(services: CurrentServices, actor: Administrator, body: GroupIn) -> GroupOut:
    """Create a group; it is by request unless it is said to be public."""
    new = SeedGroup(
        slug=body.slug,
        name=body.name,
        suitable_for=body.suitable_for,
        visibility=body.visibility,
        custom_terms=body.custom_terms,
        policy=GroupPolicy(
            allowed_models=body.allowed_models,
            multiplier_ppm=body.multiplier,
            model_multipliers=body.model_multipliers,
            limits=Limits(**{name: getattr(body, name) for name in LIMIT_NAMES}),
            default_max_output_tokens=body.default_max_output_tokens,
            interruption_rule=body.interruption_rule,
            read_on_seconds=body.read_on_seconds,
        ),
    )
    async with services.storage.write() as tx:
        record = await control.create_group(tx, actor, new, reason=body.reason)
    return show_group(record)


@router.get("/api/admin/groups/{slug}")
async def find_group(services: CurrentServices, actor: Administrator, slug: str) -> GroupOut:
    """One group."""
    async with services.storage.read() as tx:
        record = await control.read_group(tx, actor, slug)
    return show_group(record)


@router.patch("/api/admin/groups/{slug}")
async def update_group(
    services: CurrentServices, actor: Administrator, slug: str, body: GroupPatch
) -> GroupOut:
    """Change a group, its slug too; each change is a new revision and binds the very next call."""
    async with services.storage.write() as tx:
        record = await control.update_group(
            tx,
            actor,
            slug,
            body.changes(),
            reason=body.reason,
            effective_from_ms=body.effective_from,
        )
    return show_group(record)


@router.post("/api/admin/groups/{slug}/archive")
async def archive_group(
    services: CurrentServices, actor: Administrator, slug: str, body: ArchiveIn | None = None
) -> GroupOut:
    """Stop offering a group: its keys are refused from the very next call on."""
    async with services.storage.write() as tx:
        record = await control.archive_group(tx, actor, slug, reason=None if body is None else body.reason)
    return show_group(record)


@router.get("/api/admin/groups/{slug}/revisions")
async def list_group_revisions(
    services: CurrentServices, actor: Administrator, slug: str, query: Annotated[PageQuery, Query()]
) -> PageOut[RevisionOut]:
    """Every state that a group has had or will have, the newest first."""
    async with services.storage.read() as tx:
        page = await control.list_revisions(tx, actor, slug, page=query.page())
    return page_out(page, _show_revision)
