"""Platform: what an administrator sets for the whole installation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from zoneinfo import ZoneInfo

from tokenopen.core.money import ZERO, Nanocredits

SignUpState = Literal["closed", "open"]

EMAIL_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """``zone`` is where a day begins and ends for TPD; ``support_contact`` a mail address or link.

    ``sign_up`` says whether people may become users by themselves: those with an address in one of
    ``allowed_email_domains``, or anybody where none is named. Their account begins with ``starting_credit``.
    ``public_prices`` shows groups and prices to people who are not signed in too.
    """

    name: str
    zone: ZoneInfo
    default_group: str
    support_contact: str
    sign_up: SignUpState = "closed"
    starting_credit: Nanocredits = ZERO
    allowed_email_domains: Sequence[str] = ()
    public_prices: bool = False

    def lets_in(self, email: str) -> bool:
        """Tell whether somebody with this mail address may sign up."""
        if self.sign_up == "closed":
            return False
        return (
            not self.allowed_email_domains or email.lower().rsplit("@", 1)[-1] in self.allowed_email_domains
        )
