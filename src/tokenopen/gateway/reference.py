"""References: ids of what a provider keeps, in a call's body or path.

Only the account whose call made a thing may name it; for anybody else there is no such thing. A call that
names one goes to the upstream that holds it, and to no other.
"""

from dataclasses import dataclass
from typing import Final

from tokenopen.core.errors import InvalidRequest, NotFound
from tokenopen.ports.storage import Storage
from tokenopen.storage.provider_object import ProviderObject, find_provider_objects
from tokenopen.upstream.surface import CallRequest

_SHOWN_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Referred:
    """What a call refers to. ``holder`` is one of the things, all of which are at one upstream.

    ``likely_upstreams`` may hold items that the call brings along. ``unknown`` is the id of such an item that
    the account did not make: no provider that would look it up may get it.
    """

    holder: ProviderObject | None = None
    likely_upstreams: frozenset[str] = frozenset()
    unknown: str | None = None


NOTHING_REFERRED: Final = Referred()


def unknown_reference(reference: str) -> NotFound:
    """Return the refusal of an id that is nobody's, or somebody else's: nobody is told which."""
    return NotFound(f"There is no {reference[:_SHOWN_CHARACTERS]!a} among what your calls have made here.")


async def find_referred(storage: Storage, account_id: str, request: CallRequest) -> Referred:
    """Return what a call refers to. Refuses NotFound, and InvalidRequest for things at several upstreams."""
    if not request.references and not request.item_ids:
        return NOTHING_REFERRED
    async with storage.read() as tx:
        known = await find_provider_objects(tx, account_id, [*request.references, *request.item_ids])
    for reference in request.references:
        if reference not in known:
            raise unknown_reference(reference)
    holders = {known[reference].upstream_id: known[reference] for reference in request.references}
    if len(holders) > 1:
        raise InvalidRequest(
            "What this call refers to is kept by different providers; none of them has it all."
        )
    return Referred(
        holder=next(iter(holders.values()), None),
        likely_upstreams=frozenset(known[item].upstream_id for item in request.item_ids if item in known),
        unknown=next((item for item in request.item_ids if item not in known), None),
    )
