"""Mail: how the platform writes to people. Optional; without it links are handed over by administrators."""

from dataclasses import dataclass
from typing import Protocol


class MailAway(Exception):
    """The mail was not accepted for delivery. The text is for operators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A plain-text mail to one address."""

    to: str
    subject: str
    text: str


class Mail(Protocol):
    """Where mails are handed over."""

    async def send(self, message: Message) -> None:
        """Hand a mail over for delivery. Raises MailAway."""
