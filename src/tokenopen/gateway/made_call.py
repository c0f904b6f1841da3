"""Made call: what a call was answered that came from the console instead of over the callers' API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeCall:
    """A reply or a refusal as a caller would have got it; header names are in lower case.

    ``is_whole`` is False where the reply was cut; a call that is answered so was not charged, or its receipt
    says for what.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool


class MakeCall(Protocol):
    """Makes a call on behalf of the owner of an API key, whose secret nobody keeps."""

    async def __call__(
        self, *, path: str, key_hash: bytes, body: bytes, address: str, idempotency_key: bytes
    ) -> MadeCall:
        """Make one call and return what it was answered; it goes on also when this is cancelled.

        From the key on it is a call like any other: the same checks, limits and credit, the same records.
        ``address`` is where its owner's browser is.
        """
