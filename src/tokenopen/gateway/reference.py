"""References: ids of what a provider keeps, in a call's body or path.

Only the account whose call made a thing may name it; for anybody else there is no such thing. A call that
names one goes to the upstream that holds it, and to no other.
"""

from typing import Final

from tokenopen.core.errors import InvalidRequest, NotFound
from tokenopen.core.provider_object import ProviderObject
from tokenopen.ports.storage import Storage
from tokenopen.storage.provider_object import find_provider_objects
from tokenopen.upstream.surface import CallRequest

_SHOWN_CHARACTERS: Final = 80


async def find_referred(storage: Storage, account_id: str, request: CallRequest) -> ProviderObject | None:
    """Return one of the things that a call refers to, all at one upstream; None where it refers to nothing.

    Refuses NotFound, and InvalidRequest for things at several upstreams.
    """
    if not request.references:
        return None
    async with storage.read() as tx:
        known = await find_provider_objects(tx, account_id, request.references)
    for reference in request.references:
        if reference not in known:
            raise NotFound(
                f"There is no {reference[:_SHOWN_CHARACTERS]!a} among what your calls have made here."
            )
    if len({found.upstream_id for found in known.values()}) > 1:
        raise InvalidRequest(
            "What this call refers to is kept by different providers; none of them has it all."
        )
    return known[request.references[0]]
