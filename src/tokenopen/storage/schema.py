"""Schema: every table of both engines. Amounts are nano-credits, instants milliseconds since 1970 UTC.

Every table that a call writes carries the account's id first in its key, so that a hot statement stays
inside one account. Changes to what stands here need a migration beside it (see CONTRIBUTING.md).
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    UniqueConstraint,
)

from tokenopen.storage.schema_base import (
    FLAGGED,
    HELD,
    HOT,
    NOT_A_CHARGE,
    NOT_CHARGED,
    NOT_COVERED,
    Text,
    partial_index,
)
from tokenopen.storage.schema_base import metadata as metadata
from tokenopen.storage.schema_base import with_postgresql_options as with_postgresql_options
from tokenopen.storage.schema_provider import provider_objects as provider_objects
from tokenopen.storage.schema_rollup import dropped_calls as dropped_calls
from tokenopen.storage.schema_rollup import key_usage_days as key_usage_days
from tokenopen.storage.schema_rollup import key_usage_weeks as key_usage_weeks
from tokenopen.storage.schema_rollup import platform_refused_hours as platform_refused_hours
from tokenopen.storage.schema_rollup import platform_usage_hours as platform_usage_hours
from tokenopen.storage.schema_rollup import refused_hours as refused_hours
from tokenopen.storage.schema_rollup import usage_hours as usage_hours

# The catalog's version: raised by every change of groups, models, prices, upstreams or settings.
versions = Table(
    "versions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

platform_settings = Table(
    "platform_settings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("password_hash", Text),
    Column("created_at_ms", BigInteger, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False, unique=True),
    Column("state", Text, nullable=False),
    # Raised by every change of the account's keys, entitlements or state.
    Column("version", BigInteger, nullable=False),
    Column("balance", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("newest_ms", BigInteger, nullable=False),
    # How many ledger entries the account has.
    Column("entry_count", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    info=HOT,
)

groups = Table(
    "groups",
    metadata,
    Column("id", Text, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("suitable_for", Text, nullable=False),
    Column("visibility", Text, nullable=False),
    Column("custom_terms", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)

group_revisions = Table(
    "group_revisions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("group_id", Text, ForeignKey("groups.id"), nullable=False),
    Column("number", Integer, nullable=False),
    # All that the group said as of this revision, the policy that calls are admitted under among it.
    Column("policy", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("effective_from_ms", BigInteger, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("reason", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    UniqueConstraint("group_id", "number"),
)

entitlements = Table(
    "entitlements",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("group_id", Text, ForeignKey("groups.id"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("terms", Text, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("actor_id", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("public_id", Text, nullable=False, unique=True),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    # The secret before the last rotation, and until when it works.
    Column("former_key_hash", LargeBinary),
    Column("former_until_ms", BigInteger),
    Column("last_four", Text, nullable=False),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("group_id", Text, ForeignKey("groups.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("models", Text),
    Column("allowed_ips", Text),
    Column("credit_limit", BigInteger),
    Column("spent", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("last_used_at_ms", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger),
    info=HOT,
)

Index("ix_api_keys_former_key_hash", api_keys.c.former_key_hash, unique=True)

management_keys = Table(
    "management_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("last_four", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("revoked_at_ms", BigInteger),
)

# Browsers that have signed in. A session that ends is deleted.
sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("user_agent", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("last_used_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("password_at_ms", BigInteger, nullable=False),
)

# What a link may do once; a link that was used or has expired is deleted.
one_time_links = Table(
    "one_time_links",
    metadata,
    Column("id", Text, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("user_id", Text, ForeignKey("users.id"), index=True),
    Column("email", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
)

# Counted by the keyed hash of what is throttled, so that nothing that was typed is kept.
attempts = Table(
    "attempts",
    metadata,
    Column("subject_hash", LargeBinary, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("newest_ms", BigInteger, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("maker", Text, nullable=False),
    Column("context_window", BigInteger),
    Column("max_output_tokens", BigInteger),
    Column("state", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
)

price_revisions = Table(
    "price_revisions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, ForeignKey("models.name"), nullable=False),
    Column("number", Integer, nullable=False),
    # What was named, as nano-credits; every other class is resolved from it by rule and kept beside it.
    Column("named", Text, nullable=False),
    Column("prices", Text, nullable=False),
    Column("steps", Text, nullable=False),
    Column("effective_from_ms", BigInteger, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("reason", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    UniqueConstraint("model", "number"),
)

upstreams = Table(
    "upstreams",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("provider", Text, nullable=False),
    Column("base_url", Text, nullable=False),
    Column("credential_sealed", LargeBinary, nullable=False),
    Column("credential_last_four", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("connect_timeout_ms", Integer, nullable=False),
    Column("first_byte_timeout_ms", Integer, nullable=False),
    Column("idle_timeout_ms", Integer, nullable=False),
    # Null: what its provider takes is not known.
    Column("cost_multiplier_ppm", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
)

# Which upstream carries which model, under which name there.
routes = Table(
    "routes",
    metadata,
    Column("upstream_id", Text, ForeignKey("upstreams.id"), primary_key=True),
    Column("model", Text, primary_key=True),
    Column("upstream_model", Text, nullable=False),
    Index(None, "model"),
)

# A process that admits calls. Its holds expire with its lease, never by age.
workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("process_id", Integer, nullable=False),
    Column("started_at_ms", BigInteger, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    # Null: written by a version that asked nobody before it admitted.
    Column("admits_until_ms", BigInteger),
)

calls = Table(
    "calls",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("group_id", Text, nullable=False),
    Column("group_revision_id", Text, nullable=False),
    Column("entitlement_id", Text),
    Column("model", Text, nullable=False),
    Column("price_revision_id", Text, nullable=False),
    Column("surface", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("worker_id", Text, nullable=False),
    Column("hold", BigInteger, nullable=False),
    Column("charge", BigInteger, nullable=False),
    Column("absorbed", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False),
    Column("multiplier_ppm", BigInteger, nullable=False),
    Column("multiplier_rule", Text, nullable=False),
    # The limits of the call's own terms and the day it counts for, so that I9 can be re-derived.
    Column("requests_per_minute", BigInteger),
    Column("requests_per_day", BigInteger),
    Column("tokens_per_minute", BigInteger),
    Column("concurrent_calls", BigInteger),
    Column("day_ordinal", Integer, nullable=False),
    Column("admitted_at_ms", BigInteger, nullable=False),
    Column("resolved_at_ms", BigInteger),
    Column("end_reason", Text),
    Column("usage", Text),
    Column("usage_source", Text),
    Column("prices", Text),
    Column("input_units", BigInteger, nullable=False),
    Column("output_units", BigInteger, nullable=False),
    Column("upstream_id", Text),
    Column("attempts", Text),
    Column("status", Integer),
    Column("flag", Text),
    Column("first_byte_ms", Integer),
    Column("duration_ms", Integer),
    # In words what the flag is about, and who has looked at it.
    Column("flag_detail", Text),
    Column("reviewed_at_ms", BigInteger),
    Column("reviewed_by", Text),
    # The sum of the adjustments that name the call, negative where they took credit. Null: none.
    Column("adjusted", BigInteger),
    # What the provider takes from the operator for it. Null: unknown.
    Column("cost", BigInteger),
    Column("cost_source", Text),
    sqlite_with_rowid=False,
)
# Lists are read along one of these (see ``call_search``). Those of rare calls cost other calls nothing; each
# that holds every call is paid for by every call.
Index("ix_calls_id", calls.c.id)
Index("ix_calls_key_id_id", calls.c.key_id, calls.c.id)
Index("ix_calls_model_id", calls.c.model, calls.c.id)
partial_index("ix_calls_held_in_group", HELD, calls.c.account_id, calls.c.group_id)
partial_index("ix_calls_state_id", NOT_CHARGED, calls.c.state, calls.c.id)
partial_index("ix_calls_account_id_state_id", NOT_CHARGED, calls.c.account_id, calls.c.state, calls.c.id)
partial_index("ix_calls_flagged", FLAGGED, calls.c.id)
partial_index("ix_calls_absorbed", NOT_COVERED, calls.c.id)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("account_id", Text, primary_key=True),
    # 1, 2, 3 ... within the account, so that the balances after each entry form a chain (I6).
    Column("number", BigInteger, primary_key=True),
    # A charge's id is made from its call's, so that a second charge of a call cannot be written (I5).
    Column("id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("balance_after", BigInteger, nullable=False),
    Column("call_id", Text),
    Column("reason", Text),
    Column("actor_id", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    UniqueConstraint("id", "account_id"),
    sqlite_with_rowid=False,
)
_entry = ledger_entries.c
partial_index("ix_ledger_entries_kind_id", NOT_A_CHARGE, _entry.kind, _entry.id)
partial_index(
    "ix_ledger_entries_account_id_kind_number", NOT_A_CHARGE, _entry.account_id, _entry.kind, _entry.number
)
partial_index("ix_ledger_entries_call_id", NOT_A_CHARGE, _entry.call_id)

rate_windows = Table(
    "rate_windows",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("group_id", Text, primary_key=True),
    Column("newest_second", BigInteger, nullable=False),
    Column("slots", LargeBinary, nullable=False),
    Column("day_ordinal", Integer, nullable=False),
    Column("day_count", BigInteger, nullable=False),
    info=HOT,
)

# Tokens of settled calls by second, as JSON; only where the calls' own terms limit them.
token_windows = Table(
    "token_windows",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("group_id", Text, primary_key=True),
    Column("counts", Text, nullable=False),
    info=HOT,
)

# The last 1,000 per account, best effort.
refused_calls = Table(
    "refused_calls",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("group_id", Text, nullable=False),
    Column("model", Text),
    Column("surface", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    # What the message is made of, as JSON; null where it is too much to be kept.
    Column("facts", Text),
    Column("refused_at_ms", BigInteger, nullable=False),
    Index(None, "id"),
    Index(None, "code", "id"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject_kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
)
Index(
    "ix_audit_log_subject_kind_subject_id_id",
    audit_log.c.subject_kind,
    audit_log.c.subject_id,
    audit_log.c.id,
)

upgrade_requests = Table(
    "upgrade_requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("group_id", Text, ForeignKey("groups.id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("answer", Text),
    Column("decided_by", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("decided_at_ms", BigInteger),
)

# Answers of money POSTs, so that a repeated one is answered again instead of done again.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("actor_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)

# Which call an API key's Idempotency-Key was last claimed by, and its reply once it is settled: headers as
# JSON, both null while there is none, or where it was not kept.
kept_replies = Table(
    "kept_replies",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("claimed_at_ms", BigInteger, nullable=False, index=True),
    Column("headers", Text),
    Column("body", LargeBinary),
    # When the reply was given again first: its charge stands from then on.
    Column("replayed_at_ms", BigInteger),
)
