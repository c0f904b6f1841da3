"""Actor: who asks for a change."""

from dataclasses import dataclass
from typing import Literal

from tokenopen.core.errors import PermissionDenied
from tokenopen.core.user import Role

Via = Literal["management_key", "start"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A user on whose behalf something is done, and how we know it is them (``via``)."""

    user_id: str
    email: str
    role: Role
    account_id: str
    via: Via

    def require_administrator(self) -> None:
        """Raise PermissionDenied unless the actor is an administrator."""
        if self.role != "administrator":
            raise PermissionDenied("Only administrators may do this. Ask the administrator of this service.")
