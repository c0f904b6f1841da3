"""Platform: what an administrator sets for the whole installation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from zoneinfo import ZoneInfo

from tokenopen.core.money import ZERO, Nanocredits

SignUpState = Literal["closed", "open"]

# A call may be asked for again by its Idempotency-Key for a day, and counts for a day's limit.
CALL_RETENTION_DAYS_MIN: Final = 2
CALL_RETENTION_DAYS_MAX: Final = 36_500

EMAIL_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """``zone`` is where a day begins and ends for TPD; ``support_contact`` a mail address or link.

    ``sign_up`` says whether people may become users by themselves: those with an address in one of
    ``allowed_email_domains``, or anybody where none is named. Their account begins with ``starting_credit``.
    ``public_prices`` shows groups and prices to people who are not signed in too.
    Records of calls are dropped ``call_retention_days`` after they were made; None keeps them for ever.
    """

    name: str
    zone: ZoneInfo
    default_group: str
    support_contact: str
    sign_up: SignUpState = "closed"
    starting_credit: Nanocredits = ZERO
    allowed_email_domains: Sequence[str] = ()
    public_prices: bool = False
    call_retention_days: int | None = None

    def lets_in(self, email: str) -> bool:
        """Tell whether somebody with this mail address may sign up."""
        if self.sign_up == "closed":
            return False
        return (
            not self.allowed_email_domains or email.lower().rsplit("@", 1)[-1] in self.allowed_email_domains
        )
