"""Actor: who asks for a change."""

from dataclasses import dataclass
from typing import Literal

from tokenopen.core.errors import PasswordRequired, PermissionDenied
from tokenopen.core.session import is_recent_password
from tokenopen.core.user import Role

Via = Literal["link", "management_key", "session", "sign_up", "start"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A user on whose behalf something is done, and how we know it is them (``via``).

    A session's ``password_at_ms`` is when it last gave the password; both are None for every other way in.
    """

    user_id: str
    email: str
    role: Role
    account_id: str
    via: Via
    session_id: str | None = None
    password_at_ms: int | None = None

    def require_administrator(self) -> None:
        """Raise PermissionDenied unless the actor is an administrator."""
        if self.role != "administrator":
            raise PermissionDenied("Only administrators may do this. Ask the administrator of this service.")

    def require_recent_password(self, now_ms: int) -> None:
        """Raise PasswordRequired where a session gave its password too long ago; keys need none."""
        if self.via != "session":
            return
        assert self.password_at_ms is not None
        if not is_recent_password(self.password_at_ms, now_ms):
            raise PasswordRequired
