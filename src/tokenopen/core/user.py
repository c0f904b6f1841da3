"""User: somebody who owns keys and credit; each has one account."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from tokenopen.core.money import Nanocredits

Role = Literal["administrator", "user"]
UserState = Literal["active", "suspended"]

EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user with the money of their account, as of one reading. The password's hash is not here."""

    id: str
    email: str
    name: str
    role: Role
    state: UserState
    has_password: bool
    account_id: str
    balance: Nanocredits
    held: Nanocredits
    created_at_ms: int

    @property
    def available(self) -> Nanocredits:
        """Credit that is neither spent nor held."""
        return Nanocredits(self.balance - self.held)
