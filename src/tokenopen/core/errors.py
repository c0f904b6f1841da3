"""Every refusal: an expected no, with a stable code and facts, safe to show to the caller.

    Refusal
      |-- InvalidRequest 400, RequestTooLarge 413
      |-- InvalidApiKey, ApiKeyRevoked, ApiKeyExpired 401
      |-- SignInFailed, SessionEnded 401                              (console sessions only)
      |-- InsufficientCredit, KeyCreditLimitReached 402
      |-- ModelNotAllowed, GroupNotAvailable, IpNotAllowed, AccountSuspended 403
      |-- PermissionDenied 403                                        (control API only)
      |-- RequestForged, PasswordRequired, SignUpClosed 403           (console sessions only)
      |-- ModelNotFound, NotFound 404
      |-- Conflict 409                                                (control API only)
      |-- IdempotencyConflict, CallStillRunning, ReplyNotKept 409
      |-- LinkUnusable 410, TooManyAttempts 429                       (console sessions only)
      |-- LimitExceeded 429
      |     '-- RpmExceeded, TpdExceeded, TpmExceeded, ConcurrencyExceeded
      '-- Unavailable 5xx
            '-- UpstreamError, NoUpstreamAvailable, StorageUnavailable, ServerStopping, UpstreamTimeout

Anything else that is raised is a bug or an outage and answers 500 or 503 without detail. A refusal is an
exception so that it can be raised where it is found; the pure decisions in core return it as a value.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tokenopen.core.money import Nanocredits, format_amount
from tokenopen.core.rate_limit import LimitUse


class Refusal(Exception):
    """An expected no. ``facts`` are what the message is made of, as JSON values."""

    status: ClassVar[int]
    code: ClassVar[str]
    # What the OpenAI SDK's users branch on; see its error classes.
    error_type: ClassVar[str] = "invalid_request_error"

    def __init__(self, message: str, *, retry_after_s: int | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.facts: Mapping[str, object] = facts
        # The group, once the caller is known, and its limits as the reply's headers show them.
        self.group_slug: str | None = None
        self.minute: LimitUse | None = None
        self.today: LimitUse | None = None
        self.tokens: LimitUse | None = None

    @property
    def should_retry(self) -> bool | None:
        """What ``x-should-retry`` tells the OpenAI SDK; None leaves the choice to it."""
        return None


class InvalidRequest(Refusal):
    """The request cannot be read, or asks for something that is not offered."""

    status, code = 400, "invalid_request"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message, param=param)


class RequestTooLarge(Refusal):
    """The body is larger than calls may be."""

    status, code = 413, "request_too_large"

    def __init__(self, *, limit_bytes: int) -> None:
        super().__init__(f"The request body is larger than {limit_bytes:,} bytes.", limit_bytes=limit_bytes)


class InvalidApiKey(Refusal):
    """No key, a mistyped one, one of the other kind, or one that does not exist."""

    status, code = 401, "invalid_api_key"
    error_type = "authentication_error"


class ApiKeyRevoked(Refusal):
    """The key has been revoked or is switched off."""

    status, code = 401, "api_key_revoked"
    error_type = "authentication_error"


class ApiKeyExpired(Refusal):
    """The key's expiry has passed."""

    status, code = 401, "api_key_expired"
    error_type = "authentication_error"


class InsufficientCredit(Refusal):
    """The account cannot cover the most this call can cost."""

    status, code = 402, "insufficient_credit"
    error_type = "insufficient_quota"

    def __init__(
        self, *, needed: Nanocredits, available: Nanocredits, affordable_max_output_tokens: int
    ) -> None:
        hint = (
            f" A call with a maximum of {affordable_max_output_tokens:,} output tokens would fit."
            if affordable_max_output_tokens > 0
            else ""
        )
        super().__init__(
            f"This call can cost up to {format_amount(needed)} credits; {format_amount(available)} "
            f"are available.{hint} Top up, or ask for less output.",
            needed=format_amount(needed),
            available=format_amount(available),
            affordable_max_output_tokens=affordable_max_output_tokens,
        )

    @property
    def should_retry(self) -> bool | None:
        return False


class KeyCreditLimitReached(Refusal):
    """The key's own credit limit does not cover the most this call can cost."""

    status, code = 402, "key_credit_limit_reached"
    error_type = "insufficient_quota"

    def __init__(
        self,
        *,
        credit_limit: Nanocredits,
        needed: Nanocredits,
        available: Nanocredits,
        affordable_max_output_tokens: int,
    ) -> None:
        super().__init__(
            f"This API key may spend {format_amount(credit_limit)} credits in all; "
            f"{format_amount(available)} of it are left and this call can cost up to "
            f"{format_amount(needed)}. Raise the key's credit limit, or ask for less output.",
            credit_limit=format_amount(credit_limit),
            needed=format_amount(needed),
            available=format_amount(available),
            affordable_max_output_tokens=affordable_max_output_tokens,
        )

    @property
    def should_retry(self) -> bool | None:
        return False


class ModelNotAllowed(Refusal):
    """The key's group, or the key itself, does not allow the model."""

    status, code = 403, "model_not_allowed"
    error_type = "permission_error"

    def __init__(self, *, model: str, group: str, groups_with_model: Sequence[str], by_key: bool) -> None:
        what = "This API key is narrowed to other models" if by_key else f"Group {group} does not allow it"
        if by_key:
            advice = "Add the model to the key, or use another key."
        elif groups_with_model:
            advice = f"Your groups that do: {', '.join(groups_with_model)}."
        else:
            advice = "None of your groups does; ask for a higher group."
        super().__init__(
            f"Model {model} may not be called with this key. {what}. {advice}",
            model=model,
            group=group,
            groups_with_model=list(groups_with_model),
            param="model",
        )


class GroupNotAvailable(Refusal):
    """The group is archived, or is by request and the account has no access to it (any more)."""

    status, code = 403, "group_not_available"
    error_type = "permission_error"


class IpNotAllowed(Refusal):
    """The key may not be used from the caller's address."""

    status, code = 403, "ip_not_allowed"
    error_type = "permission_error"


class AccountSuspended(Refusal):
    """An administrator has suspended the account."""

    status, code = 403, "account_suspended"
    error_type = "permission_error"


class PermissionDenied(Refusal):
    """The control API's caller is known but is not an administrator."""

    status, code = 403, "permission_denied"
    error_type = "permission_error"


class SignInFailed(Refusal):
    """The password does not belong to the address; which of the two is wrong is not told."""

    status, code = 401, "sign_in_failed"
    error_type = "authentication_error"

    def __init__(self) -> None:
        super().__init__("E-mail address or password is wrong.")


class SessionEnded(Refusal):
    """No session, one that was revoked, or one that has ended by itself."""

    status, code = 401, "session_ended"
    error_type = "authentication_error"

    def __init__(self) -> None:
        super().__init__("Your session has ended. Sign in again.")


class RequestForged(Refusal):
    """A request that changes something and does not prove to come from the console's own pages."""

    status, code = 403, "request_forged"
    error_type = "permission_error"


class PasswordRequired(Refusal):
    """Credentials, credit and roles need a password that was given a short while ago."""

    status, code = 403, "password_required"
    error_type = "permission_error"

    def __init__(self) -> None:
        super().__init__("Confirm your password first: this changes credentials, credit or roles.")


class SignUpClosed(Refusal):
    """People may not sign up by themselves here, or not with this address."""

    status, code = 403, "sign_up_closed"
    error_type = "permission_error"


class LinkUnusable(Refusal):
    """A one-time link that was used, has expired, or never was; which of them is not told."""

    status, code = 410, "link_unusable"

    def __init__(self) -> None:
        super().__init__("This link has been used or has expired. Ask for a new one.")


class TooManyAttempts(Refusal):
    """Too many attempts in a row; waiting is enough."""

    status, code = 429, "too_many_attempts"
    error_type = "rate_limit_error"

    def __init__(self, *, retry_after_s: int) -> None:
        minutes = -(-retry_after_s // 60)
        wait = f"{retry_after_s} s" if retry_after_s < 120 else f"{minutes} min"
        super().__init__(f"Too many attempts. Try again in {wait}.", retry_after_s=retry_after_s)


class ModelNotFound(Refusal):
    """No such model is offered here."""

    status, code = 404, "model_not_found"

    def __init__(self, *, model: str) -> None:
        super().__init__(
            f"Model {model} does not exist here. GET /v1/models lists what this key may call.",
            model=model,
            param="model",
        )


class NotFound(Refusal):
    """No such thing, or not the caller's."""

    status, code = 404, "not_found"


class Conflict(Refusal):
    """The change does not fit what is stored: a name taken, an idempotency key used otherwise."""

    status, code = 409, "conflict"


class IdempotencyConflict(Refusal):
    """The Idempotency-Key was used for a call that asked for something else."""

    status, code = 409, "idempotency_conflict"

    def __init__(self, *, key: str, call_id: str) -> None:
        super().__init__(
            f"Idempotency-Key {key} was used for another call ({call_id}) within 24 hours. "
            "Use a new key for a new call.",
            call_id=call_id,
        )

    @property
    def should_retry(self) -> bool | None:
        return False


class CallStillRunning(Refusal):
    """The same call under the same Idempotency-Key has not ended yet."""

    status, code = 409, "call_still_running"

    def __init__(self, *, key: str, call_id: str) -> None:
        super().__init__(
            f"The call under Idempotency-Key {key} ({call_id}) still runs. Send it again in a moment: "
            "it is then answered with that call's reply, and charged once.",
            retry_after_s=5,
            call_id=call_id,
        )

    @property
    def should_retry(self) -> bool | None:
        return True


class ReplyNotKept(Refusal):
    """The same call was made and charged; its reply was too large to be kept, or never came whole."""

    status, code = 409, "reply_not_kept"

    def __init__(self, *, call_id: str) -> None:
        super().__init__(
            f"The call under this Idempotency-Key was made and charged once ({call_id}); its reply was not "
            f"kept: it was too large, or did not come whole. See GET /v1/receipts/{call_id}, and use a new "
            "key for a new call.",
            call_id=call_id,
        )

    @property
    def should_retry(self) -> bool | None:
        return False


class LimitExceeded(Refusal):
    """One more call would go over a limit of the group."""

    status = 429
    error_type = "rate_limit_error"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _advice(support_contact: str) -> str:
    return f"or ask for a higher group: {support_contact}" if support_contact else "or ask for a higher group"


class RpmExceeded(LimitExceeded):
    """Requests per minute. ``retry_after_s`` is when one more call would pass."""

    code = "rpm_exceeded"

    def __init__(
        self, *, group: str, limit: int, used: int, retry_after_s: int, support_contact: str
    ) -> None:
        wait = f"Try again in {retry_after_s} s" if limit else "Choose another group for this key"
        super().__init__(
            f"Group {group} allows {_counted(limit, 'request')} per minute; {used:,} used. "
            f"{wait}, {_advice(support_contact)}.",
            retry_after_s=retry_after_s,
            group=group,
            limit=limit,
            used=used,
            reset_after_s=retry_after_s,
        )


class TpdExceeded(LimitExceeded):
    """Daily request total. Waiting a moment does not help, so clients are told not to retry."""

    code = "tpd_exceeded"

    def __init__(
        self, *, group: str, limit: int, used: int, retry_after_s: int, resets_at: str, support_contact: str
    ) -> None:
        wait = f"resets {resets_at}. Wait until then" if limit else "choose another group for this key"
        super().__init__(
            f"Daily request total (TPD) of group {group}: {used:,} of {limit:,} requests used; "
            f"{wait}, {_advice(support_contact)}.",
            retry_after_s=retry_after_s,
            group=group,
            limit=limit,
            used=used,
            resets_at=resets_at,
        )

    @property
    def should_retry(self) -> bool | None:
        return False


class TpmExceeded(LimitExceeded):
    """Tokens per minute. ``retry_after_s`` is when one more call would pass."""

    code = "tpm_exceeded"

    def __init__(
        self, *, group: str, limit: int, used: int, retry_after_s: int, support_contact: str
    ) -> None:
        wait = f"Try again in {retry_after_s} s" if limit else "Choose another group for this key"
        super().__init__(
            f"Group {group} allows {_counted(limit, 'token')} per minute (TPM); {used:,} used. "
            f"{wait}, {_advice(support_contact)}.",
            retry_after_s=retry_after_s,
            group=group,
            limit=limit,
            used=used,
            reset_after_s=retry_after_s,
        )


class ConcurrencyExceeded(LimitExceeded):
    """Calls at the same time. When one of them ends nobody knows, so clients look again in a second."""

    code = "concurrency_exceeded"

    def __init__(self, *, group: str, limit: int, used: int, support_contact: str) -> None:
        wait = "Try again when one has ended" if limit else "Choose another group for this key"
        super().__init__(
            f"Group {group} allows {_counted(limit, 'call')} at the same time; "
            f"{used:,} {'is' if used == 1 else 'are'} running. "
            f"{wait}, {_advice(support_contact)}.",
            retry_after_s=1,
            group=group,
            limit=limit,
            used=used,
        )


class Unavailable(Refusal):
    """Infrastructure trouble: never the caller's fault, never charged."""

    error_type = "server_error"


class UpstreamError(Unavailable):
    """The provider failed or gave no whole reply."""

    status, code = 502, "upstream_error"


class NoUpstreamAvailable(Unavailable):
    """No route to the model could take the call."""

    status, code = 503, "no_upstream_available"


class StorageUnavailable(Unavailable):
    """The database cannot be reached or written; nothing was admitted or charged."""

    status, code = 503, "storage_unavailable"

    def __init__(
        self, message: str = "The service cannot record calls at the moment. Try again shortly."
    ) -> None:
        super().__init__(message, retry_after_s=5)


class ServerStopping(Unavailable):
    """The process that was asked is ending, and admits nothing more."""

    status, code = 503, "server_stopping"

    def __init__(self) -> None:
        super().__init__("This server is stopping or restarting. Try again shortly.", retry_after_s=1)


class UpstreamTimeout(Unavailable):
    """The provider did not begin its reply in time."""

    status, code = 504, "upstream_timeout"
