"""Management key: a user's credential for the control API, carrying the user's role."""

from dataclasses import dataclass, replace
from typing import Literal

ManagementKeyState = Literal["active", "revoked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementKey:
    """What is kept of a management key, besides its keyed hash."""

    id: str
    user_id: str
    name: str
    last_four: str
    state: ManagementKeyState
    created_at_ms: int
    revoked_at_ms: int | None

    def revoked(self, at_ms: int) -> "ManagementKey":
        """Return the key as it is once it has been revoked, which happens once and for good."""
        assert self.state == "active", f"{self.id} has been revoked already"
        return replace(self, state="revoked", revoked_at_ms=at_ms)
